//! Boards for tests: a root each, behind a real sshd on a port of the loopback address.

use crate::small;

use edge_seg_tests::{binary, need};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const SSHD: &str = "/usr/sbin/sshd";

pub struct Fleet {
    pub folder: tempfile::TempDir,
    pub servers: Vec<Child>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        for i in 0..self.servers.len() {
            if let Ok(group) = fs::read_to_string(self.board(i).join("guard")) {
                let _ = Command::new("kill").args(["--", &format!("-{}", group.trim())]).stderr(Stdio::null()).status();
            }
        }
    }
}

pub fn write(path: PathBuf, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn keygen(path: &Path) {
    let status = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(status.success());
}

impl Fleet {
    /// Boards cam0, cam1, ...; none where this machine has no sshd.
    pub fn start(count: usize) -> Option<Fleet> {
        if !need("sshd (package openssh-server)", Path::new(SSHD).exists()) {
            return None;
        }
        let mut fleet = Fleet { folder: tempfile::tempdir().unwrap(), servers: Vec::new() };
        // sshd's separation of privileges wants this folder when it starts as root.
        let _ = fs::create_dir_all("/run/sshd");
        keygen(&fleet.at("user"));
        keygen(&fleet.at("host"));
        fs::copy(fleet.at("user.pub"), fleet.at("authorized")).unwrap();
        // As the service manager does: what runs is stopped, and the call ends with the first frame, or without any.
        let tool = binary("edge-seg-fw");
        let restart = "#!/bin/sh\n\
             [ \"$1\" = start ] && kill -0 -- -$(cat \"$BOARD/guard\" 2>/dev/null) 2>/dev/null && exit 0\n\
             kill -- -$(cat \"$BOARD/guard\" 2>/dev/null) 2>/dev/null\n\
             : >\"$BOARD/frames\"\n\
             setsid sh -c 'for i in 1 2 3 4; do TOOL guard --root \"$BOARD\" && exit; done' >\"$BOARD/frames\" 2>/dev/null </dev/null &\n\
             echo $! >\"$BOARD/guard\"\n\
             while kill -0 $! 2>/dev/null && ! [ -s \"$BOARD/frames\" ]; do sleep 0.05; done\n\
             exit 0\n";
        write(fleet.at("bin/systemctl"), &restart.replace("TOOL", &tool.display().to_string()), 0o755);
        let logged = format!("#!/bin/sh\necho \"$1\" >>\"$BOARD/calls\"\nexec {} \"$@\" --root \"$BOARD\"\n", tool.display());
        write(fleet.at("bin/edge-seg-fw"), &logged, 0o755);
        let mut config = String::new();
        for i in 0..count {
            let board = fleet.board(i);
            write(board.join("usr/bin/edge-seg"), "#!/bin/sh\n[ \"$1\" = config ] || echo '{\"release\":0}'\n", 0o755);
            write(board.join("etc/edge-seg/edge-seg.toml"), "[input]\nsource = \"pictures\"\n", 0o644);
            write(board.join("proc/device-tree/compatible"), "raspberrypi,5-model-b\0brcm,bcm2712\0", 0o644);
            write(board.join("proc/cpuinfo"), "processor : 0\nFeatures : fp asimd asimddp\nCPU architecture: 8\n", 0o644);
            fs::create_dir_all(board.join("home")).unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let at = fleet.folder.path().display().to_string();
            // A home of its own: bash reads what stands there at each command that ssh brings.
            let server = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized\nStrictModes no\nUsePAM no\n\
                 PasswordAuthentication no\nPidFile none\nSetEnv BOARD={board} HOME={board}/home PATH={at}/bin:/usr/bin:/bin\n\
                 ForceCommand cd {board}/home && eval \"$SSH_ORIGINAL_COMMAND\"\n",
                board = board.display()
            );
            write(fleet.at(&format!("sshd{i}")), &server, 0o600);
            fleet.servers.push(fleet.serve(i));
            config.push_str(&format!("Host cam{i}\n  Port {port}\n"));
            fleet.answers(i, port);
        }
        let at = fleet.folder.path().display();
        config.push_str(&format!(
            "Host *\n  HostName 127.0.0.1\n  IdentityFile {at}/user\n  IdentitiesOnly yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
        ));
        write(fleet.at("ssh_config"), &config, 0o600);
        Some(fleet)
    }

    fn serve(&self, i: usize) -> Child {
        let log = fs::File::create(self.at(&format!("log{i}"))).unwrap();
        Command::new(SSHD).args(["-D", "-e", "-f"]).arg(self.at(&format!("sshd{i}"))).stderr(log).spawn().unwrap()
    }

    fn answers(&self, i: usize, port: u16) {
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "sshd does not answer: {}", fs::read_to_string(self.at(&format!("log{i}"))).unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A board that cannot be reached any more.
    pub fn stop(&mut self, i: usize) {
        self.servers[i].kill().unwrap();
        self.servers[i].wait().unwrap();
    }

    /// A board that [`Fleet::stop`] took away, at its old port.
    pub fn start_again(&mut self, i: usize) {
        self.servers[i] = self.serve(i);
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn board(&self, i: usize) -> PathBuf {
        self.at(&format!("board{i}"))
    }

    /// A signed or plain release: `r.esb` and the runtime `runtime`.
    pub fn release(&self, serial: u64, boards: &[&str], body: &str) {
        small::write(&self.at("r.esb"), serial, boards, 3_000_000);
        write(self.at("runtime"), &format!("#!/bin/sh\ncase \"$1\" in config|--version) exit;; esac\n{body}"), 0o755);
    }

    pub fn deploy(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary("edge-seg-fw"));
        command.current_dir(self.folder.path()).arg("deploy").args(arguments);
        command.args(["--ssh-config", "ssh_config", "--sudo", ""]).stdin(Stdio::null());
        if !arguments.contains(&"--wait") {
            command.args(["--wait", "30"]);
        }
        command.env("USER", "operator").env_remove("SUDO_USER").output().unwrap()
    }

    pub fn rows(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let output = self.deploy(&arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    pub fn status(&self, i: usize) -> serde_json::Value {
        let output = Command::new(binary("edge-seg-fw")).args(["status", "--json", "--root"]).arg(self.board(i)).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn left_over(&self, i: usize) -> usize {
        fs::read_dir(self.board(i).join("home/.cache/edge-seg")).map_or(0, Iterator::count)
    }
}

/// What copies of a file are called on a board, by its content and by the operator of [`Fleet::deploy`].
pub fn copy_name(file: &Path) -> String {
    let sum = |command: &str| {
        let output = Command::new("sh").args(["-c", command, "sh"]).arg(file).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let operator = sum("printf 'operator@%s' \"$(cat /proc/sys/kernel/hostname)\" | sha256sum");
    format!("{}-{}", &sum("sha256sum < \"$1\"")[..16], &operator[..8])
}

pub fn frames(serial: u64) -> String {
    format!("for i in 1 2 3 4; do echo '{{\"release\":{serial}}}'; done\n")
}

pub const BRING: [&str; 6] = ["--bundle", "r.esb", "--binary", "runtime", "--trial-frames", "3"];

pub fn verdicts(rows: &[serde_json::Value]) -> Vec<&str> {
    rows.iter().map(|row| row["verdict"].as_str().unwrap()).collect()
}
