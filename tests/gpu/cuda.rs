//! The code around the GPU, with mock NVIDIA libraries: `tests/cuda/cuda_double.cpp` answers for them. What a GPU computes they cannot
//! tell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use edge_seg::Placement;
use edge_seg_model::{GraphEncoder, Input};
use edge_seg_tests::{Ended, binary_with, picture, root, test_name};
use serde_json::Value;
use tempfile::TempDir;

use crate::encoders::encoders;

const LIBRARIES: [&str; 5] = ["libcuda.so.1", "libcudart.so", "libnvrtc.so", "libcublas.so", "libcudnn.so"];
const HEADERS: [&str; 3] = ["include/cuda_fp16.h", "include/math_constants.h", "include/cccl/cuda/std/cstdint"];

/// The double and the programs, built once.
static BUILT: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let masks = format!("-DMASKS=\"{}\"", root().join("runtime/cuda/src/masks.cu").display());
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", &masks, "-o"]);
    compiler.arg(folder.path().join("double.so")).arg(root().join("tests/cuda/cuda_double.cpp"));
    let compiled = compiler.output().expect("a C++ compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // Other tests may build the program without the feature, in the same place.
    for program in ["edge-seg", "edge-seg-export"] {
        fs::copy(binary_with(program, &["edge-seg-tests/cuda"]), folder.path().join(program)).unwrap();
    }
    folder
});

/// A machine: libraries, headers, and a folder for kernels.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        for library in LIBRARIES {
            let path = machine.path("lib").join(library);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(BUILT.path().join("double.so"), path).unwrap();
        }
        for header in HEADERS {
            let path = machine.path("cuda").join(header);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn without(self, what: &str) -> Self {
        fs::remove_file(self.path(what)).unwrap();
        self
    }

    fn command(&self, arguments: &[&str], script: &[(&str, &str)]) -> Command {
        self.command_of("edge-seg", arguments, script)
    }

    fn command_of(&self, program: &str, arguments: &[&str], script: &[(&str, &str)]) -> Command {
        let mut command = Command::new(BUILT.path().join(program));
        self.place(command.current_dir(self.folder.path()).args(arguments));
        command.envs(script.iter().copied());
        command
    }

    /// Lets a command run on this machine.
    fn place(&self, command: &mut Command) {
        command.env("LD_LIBRARY_PATH", self.path("lib")).env("CUDA_HOME", self.path("cuda")).env("XDG_CACHE_HOME", self.path("cache"));
        command.env("DOUBLE_LOG", self.path("log.json")).env_remove("CUDA_PATH");
    }

    /// A folder of `count` pictures.
    fn pictures(&self, count: usize) -> PathBuf {
        let folder = self.path("pictures");
        fs::create_dir(&folder).unwrap();
        for n in 0..count {
            fs::copy(picture("cat.jpg"), folder.join(format!("{n:02}.jpg"))).unwrap();
        }
        folder
    }

    fn run(&self, arguments: &[&str], script: &[(&str, &str)]) -> Ended {
        self.command(arguments, script).output().unwrap().into()
    }

    fn segment(&self, more: &[&str], script: &[(&str, &str)]) -> Ended {
        let cat = picture("cat.jpg");
        let mut arguments = vec!["segment", cat.to_str().unwrap(), "--tags", "cat, wall", "--size", "224", "--refine", "none"];
        arguments.extend(more);
        self.run(&arguments, script)
    }

    /// What the double counted in the last run.
    fn log(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("log.json")).unwrap()).unwrap()
    }
}

/// Every file of a folder, by name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

#[track_caller]
fn assert_said(ended: &Ended, parts: &[&str]) {
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    for part in parts {
        assert!(ended.stderr.contains(part), "expected {part:?} in {}", ended.stderr);
    }
}

#[test]
fn each_thing_that_misses_is_named_with_its_cure() {
    let missing = |what: &str| (Machine::new().without(what), vec![]);
    let answering = |script: &[(&'static str, &'static str)]| (Machine::new(), script.to_vec());
    let cases = [
        (missing("lib/libcuda.so.1"), ["driver library not found", "install NVIDIA's driver"]),
        (answering(&[("DOUBLE_DRIVER", "12020")]), ["driver too old", "install a newer driver"]),
        (answering(&[("DOUBLE_INIT", "100")]), ["cuInit returned 100", "nvidia-smi"]),
        (answering(&[("DOUBLE_INIT", "999")]), ["cuInit returned 999", "nvidia-smi"]),
        (missing("lib/libcudart.so"), ["cudart", "cuda-cudart-N-M"]),
        (missing("lib/libnvrtc.so"), ["nvrtc", "cuda-nvrtc-N-M"]),
        (missing("lib/libcublas.so"), ["cublas", "libcublas-N-M"]),
        (missing("lib/libcudnn.so"), ["cudnn", "libcudnn9-cuda-N"]),
        (missing("cuda/include/cuda_fp16.h"), ["cuda_fp16.h", "cuda-cudart-dev-N-M"]),
        (missing("cuda/include/math_constants.h"), ["math_constants.h", "cuda-cudart-dev-N-M"]),
        (missing("cuda/include/cccl/cuda/std/cstdint"), ["cuda/std/cstdint", "cuda-cccl-N-M"]),
        // What only its first use tells.
        (answering(&[("DOUBLE_CONTEXT", "46")]), ["DEVICE_UNAVAILABLE", "another program holds the GPU"]),
        (answering(&[("DOUBLE_CONTEXT", "2")]), ["OUT_OF_MEMORY", "end other programs"]),
        (answering(&[("DOUBLE_COMPILER", "6")]), ["NVRTC compilation failed", "one release of CUDA"]),
        (answering(&[("XDG_CACHE_HOME", "/proc/nowhere")]), ["/proc/nowhere", "XDG_CACHE_HOME"]),
    ];
    for ((machine, script), [named, cure]) in &cases {
        let asked = machine.segment(&["--device", "cuda"], script);
        assert_eq!((asked.code, asked.stdout.as_str()), (2, ""), "{}", asked.stderr);
        assert_said(&asked, &["cuda cannot be used", named, cure]);

        let automatic = machine.segment(&["--device", "auto"], script);
        assert_eq!(automatic.code, 0, "{}", automatic.stderr);
        assert_said(&automatic, &["--device auto chose cpu", named]);
        assert_eq!(automatic.json_lines()[0]["backend"], "tract-cpu");
    }
    // What is told without using the GPU is told the same by `inspect`.
    for ((machine, script), [named, cure]) in &cases[..11] {
        let inspected = machine.run(&["inspect", "--json"], script);
        let cuda = &inspected.json_lines()[0]["devices"]["cuda"];
        let why = cuda["why"].as_str().unwrap();
        assert!(cuda["usable"] == false && why.contains(named) && why.contains(cure), "{why}");
        assert!(machine.run(&["inspect"], script).stdout.contains(named));
    }
}

#[test]
fn the_whole_way_runs_on_the_device_and_nothing_is_left_to_the_processor() {
    let machine = Machine::new();
    for more in [&["--device", "cuda"][..], &["--device", "cuda", "--half"], &["--device", "auto"]] {
        let ended = machine.segment(more, &[]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_said(&ended, &[]);
        assert_eq!(ended.json_lines()[0]["backend"], "tract-cuda");
        let log = machine.log();
        assert!(log["launches"].as_u64() > Some(100) && log["matrices"].as_u64() > Some(20), "{log}");
        // The two outputs, and nothing between.
        assert_eq!(log["downloads"], 2, "{log}");
    }
    let inspected = machine.run(&["inspect", "--json"], &[]).json_lines().remove(0);
    assert_eq!(inspected["devices"]["cuda"], serde_json::json!({"usable": true}));
    assert!(machine.run(&["inspect"], &[]).stdout.contains("cpu, cuda"));
    let bench = machine.run(&["bench", "--json", "--device", "cuda", "--size", "224", "--frames", "2"], &[]).json_lines().remove(0);
    assert_eq!((&bench["backend"], &bench["unsupported_ops"]), (&"tract-cuda".into(), &serde_json::json!([])));
}

/// Set for a child that is to say what a GPU leaves to the processor.
const ASKED: &str = "EDGE_SEG_TEST_WHAT_IS_LEFT";

#[test]
fn every_heads_graph_stays_whole_on_the_device() {
    let this = "every_heads_graph_stays_whole_on_the_device";
    if std::env::var_os(ASKED).is_some() {
        for (name, bundle) in encoders() {
            let side = 4 * bundle.manifest().image.patch_px as u32;
            let placement = Placement::new((side + side / 2, side), &bundle.manifest().image, side as usize).unwrap();
            let area = (placement.input_px.0 * placement.input_px.1) as usize;
            let input = Input { pixels: vec![0.5; 3 * area], placement };
            for half in [false, true] {
                let encoder = GraphEncoder::on_gpu(&bundle, half).unwrap();
                for room in [1, 8] {
                    encoder.encode_all(&[&input], room).unwrap();
                }
                let left = encoder.unsupported_ops();
                assert!(left.is_empty(), "{name}, half {half}: {left:?}");
            }
        }
        return;
    }
    let machine = Machine::new();
    let mut child = Command::new(std::env::current_exe().unwrap());
    machine.place(child.args(["--exact", &test_name(module_path!(), this), "--nocapture"]).env(ASKED, "1"));
    let ended: Ended = child.output().unwrap().into();
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    assert!(machine.log()["matrices"].as_u64() > Some(100), "it ran on the device");
}

#[test]
fn weights_and_positions_go_to_the_device_once() {
    let machine = Machine::new();
    let uploads = |frames: &str| {
        let ended = machine.run(&["bench", "--json", "--device", "cuda", "--size", "224", "--warmup", "0", "--frames", frames], &[]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let input = ended.json_lines()[0]["input_px"].clone();
        let pixels = 3 * 4 * input[0].as_u64().unwrap() * input[1].as_u64().unwrap();
        (machine.log()["uploaded_bytes"].as_u64().unwrap(), machine.log()["uploads"].as_u64().unwrap(), pixels)
    };
    let (few, many) = (uploads("2"), uploads("12"));
    assert_eq!((many.0 - few.0, many.1 - few.1), (10 * many.2, 10), "each frame's pixels, and nothing else");
}

#[test]
fn compiled_kernels_are_kept_and_never_taken_for_others() {
    let machine = Machine::new();
    let kept = || {
        let listed = Command::new("find").arg(machine.path("cache")).args(["-name", "*.cubin"]).output().unwrap();
        let mut names: Vec<String> = String::from_utf8(listed.stdout).unwrap().lines().map(String::from).collect();
        names.sort();
        names
    };
    assert_eq!(machine.segment(&["--device", "cuda"], &[]).code, 0);
    let first = kept();
    assert!(first.len() >= 10 && first.iter().all(|name| name.contains("/sm_87/nvrtc-13.0/")), "{first:?}");
    // A compiler that would fail is not asked again.
    assert_eq!(machine.segment(&["--device", "cuda"], &[("DOUBLE_COMPILER", "6")]).code, 0);
    assert_eq!(kept(), first);
    fs::remove_file(&first[0]).unwrap();
    assert_eq!(machine.segment(&["--device", "cuda"], &[("DOUBLE_COMPILER", "6")]).code, 2);
}

#[test]
fn a_folder_goes_in_batches_and_comes_out_as_one_by_one() {
    let machine = Machine::new();
    let folder = machine.pictures(11);
    fs::write(folder.join("05.jpg"), "no picture").unwrap();
    let segment = |out: &str, more: &[&str]| {
        let mut arguments = vec!["segment", folder.to_str().unwrap(), "--tags", "cat, wall", "--size", "224", "--out", out];
        arguments.extend(more);
        let ended = machine.run(&arguments, &[]);
        assert_eq!(ended.code, 2, "one picture is none: {}", ended.stderr);
        assert_said(&ended, &["05.jpg", "1 of 11 inputs failed"]);
        let inputs: Vec<String> = ended.json_lines().iter().map(|line| line["input"].as_str().unwrap().into()).collect();
        (inputs, files(&machine.path(out)), ended.json_lines().iter().all(|line| line["backend"] == "tract-cuda"))
    };
    let alone = segment("alone", &["--device", "cuda", "--batch", "1"]);
    assert!(alone.0.is_sorted() && alone.0.len() == 10 && alone.2, "{:?}", alone.0);
    let (matrices, most) = (machine.log()["matrices"].as_u64().unwrap(), machine.log()["most_bytes"].as_u64().unwrap());
    let together = segment("together", &["--device", "cuda", "--batch", "4"]);
    assert_eq!((&together.0, together.2), (&alone.0, true));
    assert_eq!(together.1.iter().map(|file| &file.0).collect::<Vec<_>>(), alone.1.iter().map(|file| &file.0).collect::<Vec<_>>());
    // How full batches are hangs on how fast pictures come.
    assert!(machine.log()["matrices"].as_u64().unwrap() < matrices, "fewer, larger products");

    // With the memory that one picture takes, batches are halved until that is what they hold, and wait for each other.
    let arguments = ["segment", folder.to_str().unwrap(), "--tags", "cat", "--size", "224", "--device", "cuda", "--batch", "64"];
    let ended = machine.run(&arguments, &[("DOUBLE_MEMORY", &(most + most / 10).to_string())]);
    assert_eq!((ended.code, ended.json_lines().len()), (2, 10), "{}", ended.stderr);
    assert!(ended.json_lines().iter().all(|line| line["backend"] == "tract-cuda"));
    for wrong in ["0", "65"] {
        let refused = machine.segment(&["--device", "cuda", "--batch", wrong], &[]);
        assert_eq!(refused.code, 2);
        assert_said(&refused, &["--batch: expected 1 to 64"]);
    }
    assert_said(&machine.segment(&["--batch", "4"], &[]), &["--batch: expected --device cuda or auto"]);
}

#[test]
fn pictures_are_labelled_in_batches_and_stand_in_their_order() {
    let machine = Machine::new();
    machine.pictures(9);
    fs::write(machine.path("words.txt"), "cat\nwall\n").unwrap();
    let label = |out: &str, batch: &str| {
        let arguments =
            ["label", "pictures", "--out", out, "--vocabulary", "words.txt", "--size", "224", "--format", "coco", "--tag-threshold", "0"];
        let device = ["--device", "cuda", "--batch", batch];
        let ended: Ended = machine.command_of("edge-seg-export", &[&arguments[..], &device].concat(), &[]).output().unwrap().into();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let coco: Value = serde_json::from_slice(&fs::read(machine.path(out).join("coco.json")).unwrap()).unwrap();
        let names: Vec<String> = coco["images"].as_array().unwrap().iter().map(|image| image["file_name"].to_string()).collect();
        (names, machine.log()["matrices"].as_u64().unwrap())
    };
    let (alone, together) = (label("alone", "1"), label("together", "4"));
    assert!(alone.0.is_sorted() && alone.0.len() == 9, "{:?}", alone.0);
    assert_eq!(alone.0, together.0);
    assert!(together.1 < alone.1, "fewer, larger products: {} and {}", alone.1, together.1);
}

#[test]
fn masks_made_on_the_device_are_the_processors() {
    let machine = Machine::new();
    for more in [
        &["--refine", "none"][..],
        &["--refine", "guided"],
        &["--refine", "none", "--half"],
        &["--refine", "none", "--background-words", "sky"],
    ] {
        let cat = picture("cat.jpg");
        let segment = |out: &str, own: &[&str]| {
            let mut arguments = vec!["segment", cat.to_str().unwrap(), "--tags", "cat, wall, table", "--size", "224", "--device", "cuda"];
            arguments.extend(["--background", "0.01", "--batch", "1", "--out", out]);
            arguments.retain(|argument| !(own.contains(&"--gpu-masks") && ["--batch", "1"].contains(argument)));
            arguments.extend(more.iter().chain(own));
            let ended = machine.run(&arguments, &[]);
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            (files(&machine.path(out)), ended.json_lines().remove(0)["classes"].clone(), machine.log())
        };
        let (files, classes, log) = segment("processor", &[]);
        let (of_gpu, classes_of_gpu, log_of_gpu) = segment("gpu", &["--gpu-masks"]);
        // Both kernels, or with refinement the first alone; and the embeddings stay where they are.
        assert_eq!((&log["masks"], &log_of_gpu["masks"]), (&0.into(), &(if more.contains(&"guided") { 1 } else { 2 }).into()));
        assert!(log_of_gpu["downloaded_bytes"].as_u64() != log["downloaded_bytes"].as_u64());
        let of = |files: &[(String, Vec<u8>)]| {
            image::load_from_memory(&files.iter().find(|file| file.0.ends_with("mask.png")).unwrap().1).unwrap().into_bytes()
        };
        let (masks, masks_of_gpu) = (of(&files), of(&of_gpu));
        assert!(masks.iter().collect::<std::collections::BTreeSet<_>>().len() > 1, "there is something to see");
        let same = masks.iter().zip(&masks_of_gpu).filter(|(a, b)| a == b).count();
        assert!(masks.len() == masks_of_gpu.len() && same as f64 >= 0.9995 * masks.len() as f64, "{more:?}: {same} of {}", masks.len());
        for (class, class_of_gpu) in classes.as_array().unwrap().iter().zip(classes_of_gpu.as_array().unwrap()) {
            let [score, of_gpu] = [class, class_of_gpu].map(|class| class["score"].as_f64().unwrap());
            assert!((score - of_gpu).abs() < 1e-4, "{class} {class_of_gpu}");
        }
    }
    // Compiled once, and kept.
    assert_eq!(fs::read_dir(machine.path("cache/edge-seg/kernels")).unwrap().count(), 1);
    let refused = machine.segment(&["--gpu-masks"], &[]);
    assert_eq!(refused.code, 2);
    assert_said(&refused, &["--gpu-masks: expected --device cuda or auto"]);
}

#[test]
fn a_lost_device_ends_the_run_or_the_processor_takes_over() {
    let machine = Machine::new();
    let source = "test:?size=320x240&fps=30";
    let run = |more: &[&str], script: &[(&str, &str)]| {
        let mut arguments = vec!["run", "--source", source, "--tags", "cat, wall", "--size", "224", "--device", "cuda", "--frames", "6"];
        arguments.extend(["--key-interval", "1"]);
        arguments.extend(more);
        machine.run(&arguments, script)
    };
    assert_eq!(machine.segment(&["--device", "cuda"], &[]).code, 0);
    // In the middle of the second picture.
    let launches = machine.log()["launches"].as_u64().unwrap() * 3 / 2;
    let launches = launches.to_string();
    let lost = [("DOUBLE_LOSE", launches.as_str())];

    let ended = run(&[], &lost);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert_said(&ended, &["cuda was lost", "LAUNCH_FAILED", "dmesg"]);

    let taken = run(&["--device-fallback"], &lost);
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert_said(&taken, &["cuda was lost", "from here on the processor does its work"]);
    let backends: Vec<String> = taken.json_lines().iter().map(|line| line["backend"].as_str().unwrap().into()).collect();
    assert_eq!(backends.len(), 6);
    assert_eq!(backends.first().unwrap(), "tract-cuda");
    assert_eq!(backends.last().unwrap(), "tract-cpu");
    assert_eq!(taken.stderr.matches("from here on").count(), 1, "it is told once");

    // The same, by the configuration.
    fs::write(machine.path("run.toml"), "[model]\ndevice = \"cuda\"\ndevice-fallback = true\nsize = 224\n").unwrap();
    let configured =
        machine.run(&["run", "--config", "run.toml", "--source", source, "--tags", "cat", "--frames", "6", "--key-interval", "1"], &lost);
    assert_eq!(configured.code, 0, "{}", configured.stderr);
    assert_said(&configured, &["from here on the processor does its work"]);
}

#[test]
fn a_shortage_of_memory_is_an_error_or_the_processor_takes_over() {
    let machine = Machine::new();
    let little = [("DOUBLE_MEMORY", "20000000")];
    let ended = machine.segment(&["--device", "cuda"], &little);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert_said(&ended, &["cuda has too little free memory", "OUT_OF_MEMORY", "--size"]);
    let taken = machine.segment(&["--device", "cuda", "--device-fallback"], &little);
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert_said(&taken, &["too little free memory", "from here on the processor does its work"]);
    assert_eq!(taken.json_lines()[0]["backend"], "tract-cpu");
}

#[test]
fn of_two_processes_the_second_shares_the_gpu_or_is_told() {
    let machine = Machine::new();
    let lock = machine.path("exclusive").display().to_string();
    let endless = ["run", "--source", "test:?size=320x240&fps=30", "--tags", "cat", "--size", "224", "--device", "cuda"];
    for (script, second) in [(vec![], 0), (vec![("DOUBLE_EXCLUSIVE", lock.as_str())], 2)] {
        let mut first = machine.command(&endless, &script).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // Its first line comes once it holds the GPU.
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(first.stdout.as_mut().unwrap()), &mut line).unwrap();
        assert!(line.contains("tract-cuda"), "{line}");
        let ended = machine.segment(&["--device", "cuda"], &script);
        let automatic = machine.segment(&["--device", "auto"], &script);
        first.kill().unwrap();
        first.wait().unwrap();
        assert_eq!(ended.code, second, "{}", ended.stderr);
        if second == 2 {
            assert_said(&ended, &["DEVICE_UNAVAILABLE", "another program holds the GPU"]);
            assert_said(&automatic, &["--device auto chose cpu", "another program holds the GPU"]);
        }
        assert_eq!(automatic.code, 0, "{}", automatic.stderr);
    }
}
