//! Shell completions and manual pages of the three programs, read by a shell and by groff.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use edge_seg_tests::{Ended, binary, need_program};

const PROGRAMS: [&str; 3] = ["edge-seg", "edge-seg-export", "edge-seg-fw"];

fn run(program: &str, arguments: &[&str]) -> Ended {
    let ended: Ended = Command::new(binary(program)).args(arguments).output().expect("the program starts").into();
    assert_eq!(ended.code, 0, "{program} {arguments:?}: {}", ended.stderr);
    ended
}

/// What bash would put for the last word of a command line.
fn completed(script: &Path, words: &[&str]) -> BTreeSet<String> {
    let (program, last) = (words[0], words.len() - 1);
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    // The function is called as bash itself calls it: the program, the word, the one before.
    let asked = format!(
        "source '{}'
        COMP_WORDS=({})
        COMP_CWORD={last}
        asked=$(complete -p '{program}')
        asked=${{asked#*-F }}
        ${{asked%% *}} '{program}' '{}' '{}'
        printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        quoted.join(" "),
        words[last],
        words[last - 1],
    );
    let ended: Ended = Command::new("bash").args(["--noprofile", "--norc", "-c", &asked]).output().unwrap().into();
    assert!(ended.code == 0 && ended.stderr.is_empty(), "{words:?}: {}", ended.stderr);
    ended.stdout.lines().map(str::to_owned).collect()
}

/// The commands that `--help` lists.
fn commands(program: &str) -> Vec<String> {
    let help = run(program, &["--help"]).stdout;
    let listed = help.split("Commands:\n").nth(1).expect("commands are listed").lines().take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    if !need_program("bash") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        let script = folder.path().join(program);
        fs::write(&script, run(program, &["completions", "bash"]).stdout).unwrap();
        let names = commands(program);
        assert!(names.len() >= 7, "{program}: {names:?}");
        let offered = completed(&script, &[program, ""]);
        assert!(names.iter().all(|name| offered.contains(name)), "{program}: expected {names:?}, found {offered:?}");
    }
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    let edge_seg = folder.path().join("edge-seg");
    assert_eq!(completed(&edge_seg, &["edge-seg", "seg"]), set(&["segment"]));
    assert_eq!(completed(&edge_seg, &["edge-seg", "run", "--sou"]), set(&["--source"]));
    assert_eq!(completed(&edge_seg, &["edge-seg", "segment", "--device", ""]), set(&["cpu", "cuda", "auto"]));
    assert_eq!(completed(&folder.path().join("edge-seg-fw"), &["edge-seg-fw", "roll"]), set(&["rollback"]));
    assert_eq!(
        completed(&folder.path().join("edge-seg-export"), &["edge-seg-export", "bundle", "--weights", "int8"]),
        set(&["int8", "int8-dynamic"])
    );
}

#[test]
fn other_shells_get_scripts_of_their_own() {
    for (shell, mark) in
        [("zsh", "#compdef edge-seg"), ("fish", "complete -c edge-seg"), ("elvish", "edit:completion"), ("powershell", "Register-")]
    {
        let script = run("edge-seg", &["completions", shell]).stdout;
        assert!(script.contains(mark) && script.contains("background-words"), "{shell}");
    }
    let wrong: Ended = Command::new(binary("edge-seg")).args(["completions", "tcsh"]).output().unwrap().into();
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("tcsh") && wrong.stderr.contains("fish"), "{}", wrong.stderr);
}

#[test]
fn every_command_and_option_has_its_place_in_the_manual() {
    if !need_program("groff") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        let pages = folder.path().join(program);
        run(program, &["manual", pages.to_str().unwrap()]);
        let page = |name: &str| {
            let path = pages.join(format!("{name}.1"));
            let read = Command::new("groff")
                .args(["-man", "-K", "utf8", "-Tutf8", "-ww", "-P-bcou"])
                .arg(&path)
                .env("MANWIDTH", "200")
                .output()
                .unwrap();
            let complaints = String::from_utf8_lossy(&read.stderr);
            // A word that is longer than a line, such as an address, is set as it is.
            let complaints: Vec<_> = complaints.lines().filter(|line| !line.contains("break") && !line.contains("adjust")).collect();
            assert!(read.status.success() && complaints.is_empty(), "{name}: {complaints:?}");
            String::from_utf8_lossy(&read.stdout).into_owned()
        };
        let whole = page(program);
        for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SUBCOMMANDS"] {
            assert!(whole.contains(heading), "{program}: {heading}");
        }
        for command in commands(program) {
            let name = format!("{program}-{command}");
            assert!(whole.contains(&format!("{name}(1)")), "{program}'s page names {name}");
            let text = page(&name);
            let help = run(program, &[&command, "--help"]).stdout;
            let options: BTreeSet<&str> = help
                .lines()
                .filter(|line| line.trim_start().starts_with('-'))
                .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")))
                .map(|word| word.split(['[', '=', ',']).next().unwrap_or_default())
                .collect();
            assert!(options.contains("--help"), "{name}: {options:?}");
            for option in options {
                assert!(text.contains(option), "{name}: its page lacks {option}");
            }
        }
    }
}
