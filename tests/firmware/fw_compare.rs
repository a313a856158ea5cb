//! Two sides on the pictures of a page that really runs.

use crate::boards::write;

use edge_seg_tests::binary;
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn compare(folder: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(binary("edge-seg-fw"));
    command.current_dir(folder).args(["compare", "--root", "board", "--other-tags", "person, dog", "--count", "3"]).args(more);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn words_are_compared_on_the_newest_pictures_of_the_page_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let board = folder.path().join("board");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "[input]\nsource = \"test:?size=96x64&fps=10\"\n[words]\ntags = \"sky\"\n[model]\nsize = 96\n[http]\naddress = \"{address}\"\n"
    );
    write(board.join("etc/edge-seg/edge-seg.toml"), &config, 0o644);
    fs::create_dir_all(board.join("usr/bin")).unwrap();
    std::os::unix::fs::symlink(binary("edge-seg"), board.join("usr/bin/edge-seg")).unwrap();

    // Nobody serves the page yet: nothing is left of it.
    let refused = compare(folder.path(), &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("/api/picture.jpg"), "{said}");
    assert!(!folder.path().join("compared").exists(), "a folder is left");

    let mut run = Command::new(board.join("usr/bin/edge-seg"));
    run.args(["run", "--config"]).arg(board.join("etc/edge-seg/edge-seg.toml")).stdin(Stdio::null()).stdout(Stdio::null());
    let mut run = Running(run.stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(run.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("the web page is at")), "it has no page");
    std::thread::spawn(move || said.count());
    let output = compare(folder.path(), &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: HashSet<&str> = found["words"].as_array().unwrap().iter().map(|word| word["name"].as_str().unwrap()).collect();
    assert!(found["pictures"] == 3 && names == HashSet::from(["sky", "person", "dog"]), "{found}");
    let pictures = fs::read_dir(folder.path().join("compared/pictures")).unwrap();
    let bytes: HashSet<Vec<u8>> = pictures.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert_eq!(bytes.len(), 3, "each picture of a scene that moves is another");
}
