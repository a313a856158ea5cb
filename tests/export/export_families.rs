//! Published layouts of one small random CLIP: read, compared with the reference implementations, taken to masks.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use edge_seg::{Bundle, Session, read_picture};
use edge_seg_export::bundle::{self, Release};
use edge_seg_export::checkpoint::{Model, Weights, read_safetensors};
use edge_seg_export::config::{Activation, Head};
use edge_seg_export::import::{Options, import};
use edge_seg_export::onnx::Storage;
use edge_seg_tests::{Ended, binary, edge_seg, need, root};
use safetensors::SafeTensors;

fn data(name: &str) -> PathBuf {
    root().join("tests/data/clip-families").join(name)
}

fn path(name: &str) -> String {
    data(name).to_str().unwrap().into()
}

fn options() -> Options {
    Options {
        name: "tiny".into(),
        tokenizer: Some(data("bpe.txt")),
        key: None,
        lora: None,
        lora_alpha: None,
        base: None,
        head: None,
        activation: None,
        head_width: Some(16),
        text_head_width: None,
        pool_heads: None,
        preprocess: None,
        fit: None,
        templates: vec![],
        input_px: None,
        partial: false,
        licence: "Apache-2.0".into(),
    }
}

fn golden() -> Weights {
    let bytes = fs::read(data("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    // The token ids beside the floats are for other readers.
    let floats = file.iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32);
    floats
        .map(|(name, view)| {
            let data = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            (name.to_string(), edge_seg_export::checkpoint::Tensor::new(view.shape(), data))
        })
        .collect()
}

fn texts() -> Vec<String> {
    let bytes = fs::read(data("golden.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    serde_json::from_str(&metadata.metadata().as_ref().unwrap()["texts"]).unwrap()
}

fn session(model: &Model) -> Session {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.esb");
    bundle::write(&path, model, Storage::F32, &Release::default()).unwrap();
    Session::new(Bundle::open(&path).unwrap(), &edge_seg::Options::default()).unwrap()
}

fn unit(row: &[f32]) -> Vec<f32> {
    let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    row.iter().map(|x| x / norm).collect()
}

fn largest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn units(rows: &[f32], dim: usize) -> Vec<f32> {
    rows.chunks_exact(dim).flat_map(unit).collect()
}

#[test]
fn openais_tokenizer_and_towers_give_open_clips_embeddings_and_logits() {
    let golden = golden();
    let model = import(&path("openai.pt"), &options()).unwrap();
    assert_eq!(model.config.image.activation, Activation::QuickGelu, "OpenAI's marks say so");
    let session = session(&model);
    let dim = model.config.embedding_dim;
    let frame = read_picture(&data("picture.png")).unwrap();
    let encoded = session.encode(&frame).unwrap();
    // The picture goes through another resizer, whose pixels may differ by a grey level.
    let close = largest(encoded.grid.global().data(), &unit(&golden["32x32.global"].data));
    assert!(close <= 2e-2, "global {close}");
    let mut worst = 0f32;
    let scale = model.config.logit_scale;
    for (n, text) in texts().iter().enumerate() {
        let found = session.embed_text(text).unwrap();
        let expected = unit(&golden["text"].data[n * dim..][..dim]);
        let difference = largest(found.data(), &expected);
        assert!(difference <= 1e-4, "{text:?}: {difference}");
        let image = unit(&golden["32x32.global"].data);
        let logit: f32 = scale * image.iter().zip(found.data()).map(|(a, b)| a * b).sum::<f32>();
        worst = worst.max((logit - golden["logits"].data[n]).abs());
    }
    assert!(worst <= 1e-4 * scale, "logits {worst}");
}

#[test]
fn prepared_pixels_are_open_clips_and_transformers_to_a_grey_level() {
    let golden = golden();
    let model = import(&path("open_clip"), &options()).unwrap();
    let session = session(&model);
    let manifest = &session.bundle().manifest().image;
    let frame = read_picture(&data("picture.png")).unwrap();
    let input = edge_seg_model::prepare(&frame.pixels, manifest, 32).unwrap();
    let level = 1.0 / 255.0 / manifest.std.iter().copied().fold(f32::MAX, f32::min);
    for reference in ["32x32.pixels", "transformers.pixels"] {
        let difference = largest(&input.pixels, &golden[reference].data);
        assert!(difference <= 1.05 * level, "{reference}: {difference}, a grey level is {level}");
    }
}

/// The encoder on the reference's own pixels.
fn encode(model: &Model, pixels: &[f32]) -> edge_seg::PatchGrid {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.esb");
    bundle::write(&path, model, Storage::F32, &Release::default()).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    let placement = edge_seg::Placement::new((32, 32), &bundle.manifest().image, 32).unwrap();
    let encoder = edge_seg_model::ImageEncoder::load(&bundle, edge_seg_model::Threads::new(1)).unwrap();
    encoder.encode(&edge_seg_model::Input { pixels: pixels.to_vec(), placement }).unwrap()
}

#[test]
fn every_family_gives_the_reference_implementations_embeddings() {
    let golden = golden();
    let pixels = &golden["32x32.pixels"].data;
    for (source, patches) in [
        ("open_clip", "32x32.patches"),
        ("openai.pt", "32x32.patches"),
        ("tinyclip.pt", "32x32.patches"),
        ("tcl.pth", "tcl.32x32.patches"),
        ("tcl-without-clip.pth", "tcl.32x32.patches"),
    ] {
        let activation = (source == "tinyclip.pt").then_some(Activation::QuickGelu);
        let base = source.contains("without").then(|| data("openai.pt"));
        // The training script that wrapped these weights keeps the image tower's sizes nowhere.
        let model = import(&path(source), &Options { activation, base, ..options() }).unwrap_or_else(|e| panic!("{source}: {e}"));
        let grid = encode(&model, pixels);
        let dim = model.config.embedding_dim;
        let dense = largest(grid.patches().data(), &units(&golden[patches].data, dim));
        let global = largest(grid.global().data(), &unit(&golden["32x32.global"].data));
        assert!(dense <= 1e-4 && global <= 1e-4, "{source}: patches {dense}, global {global}");
    }
}

#[test]
fn tcls_scale_bias_decoder_and_sentences_are_kept() {
    let model = import(&path("tcl.pth"), &options()).unwrap();
    assert_eq!(model.config.image.head, Head::Tcl { layers: 2 });
    assert_eq!((model.config.logit_scale, model.config.logit_bias), (11.5, Some(-2.25)));
    assert_eq!(model.config.templates.len(), 9);
    assert!(model.weights.keys().all(|name| !name.contains("exp_avg")), "the optimizer's state is no weight");
    let lacking = import(&path("tcl-without-clip.pth"), &options()).unwrap_err().to_string();
    assert!(lacking.contains("image.patch.weight"), "{lacking}");
    let other = import(&path("openai.pt"), &Options { base: Some(data("openai.pt")), ..options() }).unwrap_err().to_string();
    assert!(other.contains("--base"), "{other}");
}

#[test]
fn what_is_left_over_is_refused_unless_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("more.safetensors");
    let weights = read_safetensors(&data("open_clip/open_clip_model.safetensors")).unwrap();
    let mut named: Vec<_> = weights.iter().map(|(n, t)| (n.clone(), t.shape.clone(), t.data.clone())).collect();
    named.push(("visual.ln_pst.weight".into(), vec![2], vec![0.0; 2]));
    let bytes: Vec<Vec<u8>> = named.iter().map(|(_, _, d)| d.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = named.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.clone(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &file).unwrap();
    let activation = Some(Activation::QuickGelu);
    let source = file.to_str().unwrap();
    let refused = import(source, &Options { activation, ..options() }).unwrap_err().to_string();
    assert!(refused.contains("visual.ln_pst.weight") && refused.contains("1 unused"), "{refused}");
    let model = import(source, &Options { activation, partial: true, ..options() }).unwrap();
    assert_eq!(model.report.left_out, ["visual.ln_pst.weight"]);
}

fn export(folder: &Path, arguments: &[&str], endpoint: &str) -> Ended {
    let mut command = Command::new(binary("edge-seg-export"));
    command.current_dir(folder).args(arguments).env("HF_HOME", folder.join("hub")).env("HF_ENDPOINT", endpoint).env_remove("HTTP_PROXY");
    command.env_remove("http_proxy").env_remove("ALL_PROXY").env_remove("all_proxy");
    command.output().expect("edge-seg-export starts").into()
}

/// A hub of one repository: `/api/models/NAME/revision/REV` lists it, `/NAME/resolve/REV/FILE` gives parts of its files.
fn hub(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &files);
        }
    });
    address
}

fn answer(mut stream: TcpStream, files: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut request, mut range) = (String::new(), None);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = value.trim().split_once('-').map(|(a, b)| (a.parse::<usize>().unwrap_or(0), b.parse::<usize>().ok()));
        }
    }
    let target = request.split_whitespace().nth(1).unwrap_or("").to_string();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let head = |status: &str, more: &str, len: usize| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nX-Repo-Commit: {commit}\r\nETag: \"{target}\"\r\nConnection: close\r\n{more}\r\n"
        )
    };
    if target.starts_with("/api/models/someone/tiny/revision/v1") {
        let siblings: Vec<_> = files.iter().map(|(name, _)| serde_json::json!({"rfilename": name})).collect();
        let body = serde_json::json!({"siblings": siblings, "sha": commit}).to_string();
        write!(stream, "{}{body}", head("200 OK", "Content-Type: application/json\r\n", body.len()))?;
    } else if let Some((_, bytes)) = target.strip_prefix("/someone/tiny/resolve/v1/").and_then(|n| files.iter().find(|(f, _)| *f == n)) {
        let (from, to) = range.unwrap_or((0, None));
        let to = to.unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
        let part = &bytes[from.min(bytes.len())..=to];
        let range = format!("Content-Range: bytes {from}-{to}/{}\r\n", bytes.len());
        write!(stream, "{}", head("206 Partial Content", &range, part.len()))?;
        stream.write_all(part)?;
    } else {
        write!(stream, "{}", head("404 Not Found", "", 0))?;
    }
    Ok(())
}

#[test]
fn a_model_of_the_hub_is_downloaded_once_and_found_again_offline() {
    let sources = root().join("tests/data/clip-sources/hf");
    let names = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"];
    let address = hub(names.iter().map(|n| (*n, fs::read(sources.join(n)).unwrap())).collect());
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["import", "hf:someone/tiny@v1", "-o", "out"];
    let ended = export(folder.path(), &arguments, &address);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let model = Model::read(&folder.path().join("out")).unwrap();
    assert_eq!((model.config.name.as_str(), model.config.image.heads), ("tiny", 2));
    let nobody = "http://127.0.0.1:9";
    fs::remove_dir_all(folder.path().join("out")).unwrap();
    let ended = export(folder.path(), &arguments, nobody);
    assert_eq!(ended.code, 0, "the cache has it: {}", ended.stderr);
    fs::remove_dir_all(folder.path().join("hub")).unwrap();
    let ended = export(folder.path(), &arguments, nobody);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("hf:someone/tiny@v1") && ended.stderr.contains("try: a folder or a file"), "{}", ended.stderr);
    for (wrong, word) in [("hf:someone", "OWNER/NAME"), ("hf:../x/y", "OWNER/NAME"), ("hf:someone/absent@v1", "404")] {
        let ended = export(folder.path(), &["import", wrong, "-o", "out"], &address);
        assert_eq!(ended.code, 2);
        assert!(ended.stderr.contains(word), "{wrong}: {}", ended.stderr);
    }
}

/// A recipe that trains an imported model for a few steps.
fn recipe(folder: &Path) -> String {
    let images = folder.join("data/pairs/tiny/images");
    fs::create_dir_all(&images).unwrap();
    let mut table = "split\tfile\tcaption\n".to_string();
    for n in 0..4u8 {
        let picture =
            image::RgbImage::from_fn(32, 32, |x, _| if x < 16 { image::Rgb([250, 60 * n, 20]) } else { image::Rgb([20, 40, 60 * n]) });
        picture.save(images.join(format!("{n}.png"))).unwrap();
        table += &format!("train\t{n}.png\ta dog on wet grass\ntrain\t{n}.png\tthe road in the snow\n");
    }
    fs::write(folder.join("data/pairs/tiny/captions.tsv"), table).unwrap();
    let card = "[card]\ntitle = \"t\"\nlicence = \"none\"\ntraining_data = \"colours\"\nlimits = \"all\"\n";
    let stage = "[[stage]]\nname = \"ttd\"\nkind = \"ttd\"\npairs = [\"tiny\"]\nlearns = \"lora\"\nsteps = 3\nbatch = 4\nrate = 1e-3\nside_px = 32\nfolder = \"trained\"\n";
    format!(
        "name = \"tiny\"\nstart = \"imported\"\ndata = \"data\"\nwork = \"work\"\noutput = \"models\"\ninput_px = 32\nthreads = 1\ncalibrate = false\nfinal_report = []\n{card}{stage}"
    )
}

/// The trainer's Python environment.
fn trainer() -> Option<OsString> {
    let venv = std::env::var_os("EDGE_SEG_TRAINER_VENV");
    need("Python environment of the trainer (set EDGE_SEG_TRAINER_VENV)", venv.is_some());
    venv
}

#[test]
fn each_family_goes_from_its_published_file_to_masks() {
    // Without it the families are taken to masks without the training between.
    let venv = trainer();
    let vocabulary = path("bpe.txt");
    let of_openai = ["--head-width", "16", "--tokenizer", &vocabulary];
    let tinyclip = [&of_openai[..], &["--activation", "quick-gelu"]].concat();
    let pe_core = ["--head-width", "8", "--pool-heads", "4"];
    let files = |source: &str| root().join("tests/data").join(source).to_str().unwrap().to_owned();
    for (source, more) in [
        ("clip-families/open_clip", &of_openai[..]),
        ("clip-families/openai.pt", &of_openai),
        ("clip-families/tinyclip.pt", &tinyclip),
        ("clip-families/tcl.pth", &of_openai),
        ("clip-sources/hf", &of_openai[..2]),
        ("checkpoints/hf", &[]),
        ("checkpoints/clipa", &[]),
        ("checkpoints/siglip", &[]),
        ("checkpoints/siglip-timm", &pe_core[..2]),
        ("checkpoints/pe-core", &pe_core),
        ("checkpoints/eva02", &pe_core[..2]),
        ("checkpoints/mobileclip", &pe_core[..2]),
        ("checkpoints/tips", &[]),
        ("checkpoints/metaclip2", &[]),
        ("checkpoints/metaclip2-mt5", &[]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        let at = files(source);
        let arguments = [&["import", &at, "-o", "imported", "--name", "tiny"], more].concat();
        let ended = export(place, &arguments, "http://127.0.0.1:9");
        assert_eq!(ended.code, 0, "{source}: {}", ended.stderr);
        let mut model = "imported";
        if venv.is_some() {
            fs::write(place.join("recipe.toml"), recipe(place)).unwrap();
            let ended = export(place, &["train", "recipe.toml", "--set", "stage.ttd.steps=1"], "http://127.0.0.1:9");
            assert_eq!(ended.code, 0, "{source}: {}", ended.stderr);
            model = "models/trained";
            let (before, after) = (Model::read(&place.join("imported")).unwrap(), Model::read(&place.join(model)).unwrap());
            for name in ["image.blocks.0.attn.qkv.weight", "text.blocks.0.mlp.fc1.weight"] {
                assert!(before.weights[name] != after.weights[name], "{source}: the adapters of {name} are merged");
            }
            assert_eq!((before.config.image, before.config.text), (after.config.image, after.config.text), "{source}");
            assert_eq!((before.config.context, before.config.pad_token), (after.config.context, after.config.pad_token), "{source}");
        }
        let ended = export(place, &["bundle", model, "-o", "tiny.esb"], "http://127.0.0.1:9");
        assert_eq!(ended.code, 0, "{source}: {}", ended.stderr);
        let picture = path("picture.png");
        let ended = edge_seg(place, &["segment", &picture, "--tags", "dog, grass, snow", "--model", "tiny.esb", "--background", "none"]);
        assert_eq!(ended.code, 0, "{source}: {}", ended.stderr);
        assert_eq!(ended.json_lines().len(), 1, "{source}");
    }
}

/// Starts a training and kills it once it has kept a checkpoint.
fn killed_while_training(place: &Path, arguments: &[&str]) {
    let mut running = Command::new(binary("edge-seg-export")).current_dir(place).args(arguments).spawn().unwrap();
    let checkpoint = place.join("work/tiny/checkpoint.pt");
    let began = std::time::Instant::now();
    while !checkpoint.is_file() {
        assert!(running.try_wait().unwrap().is_none(), "the training ended before it kept anything");
        assert!(began.elapsed().as_secs() < 300, "no checkpoint after five minutes");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    running.kill().unwrap();
    running.wait().unwrap();
}

/// Two photos with masks of a person's own, in a folder as MMSegmentation has them.
fn own_labels(folder: &Path) {
    for part in ["images", "labels"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    for n in 0..2u8 {
        let picture =
            image::RgbImage::from_fn(32, 32, |x, _| if x < 16 { image::Rgb([250, 90 * n, 20]) } else { image::Rgb([20, 40, 90 * n]) });
        picture.save(folder.join(format!("images/{n}.png"))).unwrap();
        image::GrayImage::from_fn(32, 32, |x, _| image::Luma([1 + u8::from(x >= 16)]))
            .save(folder.join(format!("labels/{n}.png")))
            .unwrap();
    }
    fs::write(folder.join("classes.tsv"), "id\tname\n1\tdog\n2\tgrass\n").unwrap();
}

#[test]
fn an_engineers_day() {
    let Some(venv) = trainer() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let run = |arguments: &[&str]| export(place, arguments, "http://127.0.0.1:9");
    let done = |arguments: &[&str]| {
        let ended = run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
        ended
    };
    done(&["import", &path("open_clip"), "-o", "imported", "--head-width", "16", "--name", "tiny", "--tokenizer", &path("bpe.txt")]);
    fs::write(place.join("recipe.toml"), recipe(place)).unwrap();

    let smoke = done(&["train", "recipe.toml", "--smoke"]);
    assert!(smoke.stdout.contains("stage ttd: 3 steps of 4") && smoke.stdout.contains("the whole: about"), "{}", smoke.stdout);
    assert!(!place.join("models").exists());

    let long = ["train", "recipe.toml", "--set", "stage.ttd.steps=60", "--set", "save_every=1", "--set", "log_every=1"];
    killed_while_training(place, &long);
    let refused = run(&["train", "recipe.toml", "--set", "stage.ttd.steps=60", "--set", "stage.ttd.rate=0.5"]);
    assert!(refused.code == 2 && refused.stderr.contains("stage.ttd.rate: 0.001 there, 0.5 here"), "{}", refused.stderr);
    let resumed = done(&long);
    assert!(resumed.stderr.contains("going on at stage ttd, step "), "{}", resumed.stderr);
    let again = done(&long);
    assert!(again.stderr.contains("trained already"), "{}", again.stderr);

    own_labels(&place.join("data/checked"));
    let ablation =
        recipe(place).replace("folder = \"trained\"", "").replace("\"tiny\"\nstart", "\"ablation\"\nmeasure = [\"folder:checked\"]\nstart");
    fs::write(place.join("ablation.toml"), ablation).unwrap();
    let rows = ["--only", "neither loss", "--only", "both, tags by pixel"];
    let table = done(&[&["ablate", "ablation.toml"], &rows[..]].concat()).stdout;
    assert!(table.contains("| | folder:checked | mean |") && table.contains("\n| both, tags by pixel | "), "{table}");
    assert_eq!(done(&[&["ablate", "ablation.toml"], &rows[..]].concat()).stdout, table, "what is measured is not measured again");

    let checked = ["--images", "data/checked/images", "--labels", "data/checked/labels", "--classes", "data/checked/classes.tsv"];
    done(&["bundle", "models/trained", "-o", "tiny.esb"]);
    let miou = |model: &str| {
        let eval = done(&[&["eval", "segmentation", "--model", model, "--json", "--size", "32", "--view", "id"], &checked[..]].concat());
        eval.json_lines()[0]["miou"].as_f64().unwrap()
    };
    assert!((0.0..=1.0).contains(&miou("tiny.esb")));

    fs::write(place.join("words.txt"), "dog\ngrass\nsnow\n").unwrap();
    let label = ["label", "data/pairs/tiny/images", "-o", "labelled", "--vocabulary", "words.txt", "--model", "tiny.esb"];
    done(&[&label[..], &["--tag-threshold", "0", "--background", "0", "--size", "64"]].concat());
    let python = Path::new(&venv).join("bin/python");
    let adopt = |labels: &str, name: &str| {
        let arguments = ["-m", "edge_seg_trainer", "adopt", labels, "--images", "data/pairs/tiny/images", "--name", name, "--data", "data"];
        let ended =
            Command::new(&python).args(arguments).current_dir(place).env("PYTHONPATH", root().join("export/trainer")).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        fs::read(place.join("data/seg").join(name).join("labels/0.png")).unwrap()
    };
    let pixels = |png: &[u8]| image::load_from_memory(png).unwrap().to_luma8().into_raw();
    // Two formats of one labelling are one set.
    let before = adopt("labelled/voc", "before");
    assert_eq!(pixels(&adopt("labelled/coco.json", "as-coco")), pixels(&before));
    let labels = match std::env::var_os("EDGE_SEG_READERS_VENV") {
        Some(readers) => {
            let script = root().join("tests/python/correct_labels.py");
            let mut python = Command::new(Path::new(&readers).join("bin/python"));
            let ended = python.arg(script).args(["labelled", "data/pairs/tiny/images", "corrected"]).current_dir(place).output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
            let (masks, coco) =
                (adopt("corrected/masks", "as-masks"), adopt("corrected/coco/annotations/instances_annotations.json", "as-json"));
            assert_eq!(pixels(&masks), pixels(&coco), "both of CVAT's exports are one set");
            "corrected/masks"
        }
        None => {
            need("Python environment with datumaro (set EDGE_SEG_READERS_VENV); a mask is corrected by hand instead", false);
            let mask = place.join("labelled/voc/SegmentationClass/0.png");
            let mut corrected = image::open(&mask).unwrap().to_rgb8();
            for (_, _, pixel) in corrected.enumerate_pixels_mut().filter(|(x, _, _)| *x < 16) {
                *pixel = image::Rgb([128, 0, 0]);
            }
            corrected.save(&mask).unwrap();
            "labelled/voc"
        }
    };
    let corrected = adopt(labels, "mine");
    assert!(pixels(&corrected).chunks(32).all(|row| row[..16] == [1; 16]), "the left half is the first word now");

    let stage = "[[stage]]\nname = \"mine\"\nkind = \"sets\"\nsets = [\"mine=1\"]\numbrellas = \"\"\nlearns = \"all\"\nsteps = 3\nbatch = 4\nside_px = 32\nfolder = \"mine\"\n";
    let first = recipe(place);
    let head = first.split("[[stage]]").next().unwrap().replace("\"imported\"", "\"models/trained\"").replace("\"tiny\"", "\"mine\"");
    fs::write(place.join("mine.toml"), format!("score = [40.0, -8.0]\n{head}{stage}")).unwrap();
    done(&["train", "mine.toml"]);
    done(&["bundle", "models/mine", "-o", "mine.esb"]);
    // The set that was trained on, by its own table.
    let set = ["--images", "data/seg/mine/images", "--labels", "data/seg/mine/labels", "--classes", "data/seg/mine/classes.tsv"];
    let told = done(&[&["eval", "segmentation", "--model", "mine.esb", "--json", "--size", "32", "--view", "value"], &set[..]].concat());
    assert_eq!(told.json_lines()[0]["labels"][0], "background", "{}", told.stdout);
    assert!((0.0..=1.0).contains(&miou("mine.esb")));
}
