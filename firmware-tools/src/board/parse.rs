//! Pure parsers of the text that boards keep in /proc and /etc: memory, the system's and NVIDIA's releases.

/// Total, available and swap memory of /proc/meminfo, in bytes.
pub fn meminfo(text: &str) -> Option<(u64, u64, u64)> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        let kib: u64 = line.split(':').nth(1)?.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some((field("MemTotal")?, field("MemAvailable")?, field("SwapTotal").unwrap_or(0)))
}

/// L4T release of /etc/nv_tegra_release: `# R36 (release), REVISION: 4.3, ...` is 36.4.3.
pub fn l4t(text: &str) -> Option<String> {
    let line = text.lines().next()?;
    let major = line.strip_prefix("# R")?.split_whitespace().next()?;
    let revision = line.split("REVISION:").nth(1)?.split(',').next()?.trim();
    let plain = |text: &str| !text.is_empty() && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    (plain(major) && plain(revision)).then(|| format!("{major}.{revision}"))
}

/// JetPack release of an L4T release, as NVIDIA's archive lists them; none for a release that is not in the table.
pub fn jetpack(l4t: &str) -> Option<&'static str> {
    const RELEASES: &[(&str, &str)] = &[
        ("32.4.3", "4.4"),
        ("32.4.4", "4.4.1"),
        ("32.5.0", "4.5"),
        ("32.5.1", "4.5.1"),
        ("32.6.1", "4.6"),
        ("32.7.1", "4.6.1"),
        ("32.7.2", "4.6.2"),
        ("32.7.3", "4.6.3"),
        ("32.7.4", "4.6.4"),
        ("32.7.5", "4.6.5"),
        ("32.7.6", "4.6.6"),
        ("34.1.0", "5.0 DP"),
        ("34.1.1", "5.0.1 DP"),
        ("35.1.0", "5.0.2"),
        ("35.2.1", "5.1"),
        ("35.3.1", "5.1.1"),
        ("35.4.1", "5.1.2"),
        ("35.5.0", "5.1.3"),
        ("35.6.0", "5.1.4"),
        ("35.6.1", "5.1.5"),
        ("35.6.4", "5.1.6"),
        ("36.2.0", "6.0 DP"),
        ("36.3.0", "6.0"),
        ("36.4.0", "6.1"),
        ("36.4.3", "6.2"),
        ("36.4.4", "6.2.1"),
        ("36.4.7", "6.2.1"),
        ("36.5.0", "6.2.2"),
        ("38.2.0", "7.0"),
        ("38.2.1", "7.0"),
        ("38.4.0", "7.1"),
        ("39.2.0", "7.2"),
    ];
    // NVIDIA leaves a last zero away in some places.
    let full = if l4t.matches('.').count() == 1 { format!("{l4t}.0") } else { l4t.to_owned() };
    RELEASES.iter().find(|(release, _)| full == *release).map(|(_, jetpack)| *jetpack)
}

/// One value of /etc/os-release, unquoted.
pub fn os_release(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim().trim_matches(['"', '\'']).to_string())
}

/// CUDA release of version.json (since CUDA 11.1).
pub fn cuda_json(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(value.get("cuda")?.get("version")?.as_str()?.to_string())
}

/// CUDA release of version.txt (before CUDA 11.1).
pub fn cuda_text(text: &str) -> Option<String> {
    Some(text.trim().strip_prefix("CUDA Version ")?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l4t_needs_major_and_revision() {
        let line = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64";
        assert_eq!(l4t(line).as_deref(), Some("36.4.3"));
        assert_eq!(l4t("# R36 (release)"), None);
        assert_eq!(l4t("# R (release), REVISION: , GCID"), None);
    }

    #[test]
    fn jetpack_is_told_by_the_exact_release() {
        let found = [
            ("35.6.1", Some("5.1.5")),
            ("35.6.4", Some("5.1.6")),
            ("32.5.1", Some("4.5.1")),
            ("36.4.7", Some("6.2.1")),
            ("36.5.0", Some("6.2.2")),
            ("36.5", Some("6.2.2")),
            ("36.2.0", Some("6.0 DP")),
            ("34.1.1", Some("5.0.1 DP")),
            ("39.2.0", Some("7.2")),
            ("35.6.9", None),
            ("36.4.99", None),
            ("36", None),
        ];
        for (l4t, expected) in found {
            assert_eq!(jetpack(l4t), expected, "{l4t}");
        }
    }

    #[test]
    fn what_is_cut_off_or_of_another_file_never_panics() {
        let texts = [
            "MemTotal: 8009612 kB\nMemAvailable: 7000000 kB\nSwapFree: 99999999999999999999 kB\n",
            "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64",
            "ID=\"debian\"\nVERSION_ID='12'\nID=",
            "{\"cuda\": {\"version\": \"12.6.68\"}}",
            "CUDA Version 10.2.300",
            "36.4.7.\u{e9}\0",
        ];
        for text in texts {
            for at in (0..=text.len()).filter(|&at| text.is_char_boundary(at)) {
                for part in [&text[..at], &text[at..]] {
                    meminfo(part);
                    jetpack(part);
                    l4t(part);
                    os_release(part, "ID");
                    cuda_json(part);
                    cuda_text(part);
                }
            }
        }
        assert_eq!(meminfo("MemTotal: 99999999999999999999 kB"), None);
    }
}
