//! What a configuration takes frames from, as far as the guard and the doctor need to know.

use std::io;
use std::path::Path;

/// The source that a configuration names, where it names one.
///
/// # Errors
/// When it cannot be read.
pub fn of(config: &Path) -> io::Result<Option<String>> {
    Ok(named(&std::fs::read_to_string(config)?))
}

fn named(text: &str) -> Option<String> {
    source_of(&text.parse().ok()?).map(str::to_owned)
}

fn source_of(config: &toml::Table) -> Option<&str> {
    config.get("input")?.get("source")?.as_str()
}

/// Whether what a configuration reads has no end, so that a runtime that ends by itself has failed, whatever it says; what is not known
/// may have one.
pub fn is_endless(config: &Path) -> bool {
    std::fs::read_to_string(config).is_ok_and(|text| has_no_end(&text))
}

fn has_no_end(text: &str) -> bool {
    let Ok(config) = text.parse::<toml::Table>() else { return false };
    let Some(source) = source_of(&config) else { return false };
    if config.contains_key("frames") || config.values().any(|part| part.get("frames").is_some()) {
        return false;
    }
    let scheme = source.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme.to_ascii_lowercase().as_str() {
        "test" => !source.split(['?', '&']).any(|option| option.starts_with("frames=")),
        "v4l2" | "rpicam" | "csi" | "rtsp" | "rtsps" | "http" | "https" | "rtmp" | "rtmps" | "srt" => true,
        _ => source.starts_with("/dev/video"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_and_streams_have_no_end_and_files_have_one() {
        let config = |source: &str| format!("[input]\nsource = \"{source}\"\n");
        let endless =
            ["v4l2:///dev/video0?size=64x48", "/dev/video0", "rpicam:", "csi:?fps=30", "RTSP://a/b", "https://cam/x", "test:?fps=9"];
        for source in endless {
            assert!(has_no_end(&config(source)), "{source}");
            // A number of frames is an end.
            assert!(!has_no_end(&format!("{}[pipeline]\nframes = 9\n", config(source))), "{source}");
        }
        for source in ["film.mp4", "/srv/pictures", "file:/dev/video.png", "y4m:-", "mjpeg:a.mjpeg", "test:?fps=9&frames=3", "C:x.png"] {
            assert!(!has_no_end(&config(source)), "{source}");
        }
        assert!(!has_no_end("") && !has_no_end("[input]") && !has_no_end("not a table"));
    }
}
