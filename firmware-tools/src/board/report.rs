//! A board's report for people.

use super::Board;
use std::fmt::Write;

/// The report as aligned lines.
pub fn render(board: &Board) -> String {
    let mut out = String::new();
    let absent = || "not found".to_string();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<12} {value}");
    };
    line("model", format!("{} ({})", board.model.clone().unwrap_or_else(absent), board.key));
    line("chip", board.soc.clone().unwrap_or_else(absent));
    let cores = match board.core_types.is_empty() {
        true => board.cores.to_string(),
        false => board.core_types.join(", "),
    };
    line("cores", format!("{cores}, {}", board.arch.clone().unwrap_or_else(absent)));
    line(
        "features",
        match board.features.is_empty() {
            true => "none that matter here".into(),
            false => board.features.join(" "),
        },
    );
    line(
        "memory",
        board.memory.map_or_else(absent, |memory| {
            format!(
                "{} MiB, {} MiB available, {} MiB swap",
                memory.total_bytes >> 20,
                memory.available_bytes >> 20,
                memory.swap_bytes >> 20
            )
        }),
    );
    line("temperature", board.temperatures.first().map_or_else(absent, |hottest| format!("{:.1} °C ({})", hottest.celsius, hottest.zone)));
    if board.throttling.is_empty() {
        line("throttling", absent());
    }
    for throttling in &board.throttling {
        let say = |items: &[String]| match items.is_empty() {
            true => "none".to_string(),
            false => items.join(", "),
        };
        line("throttling", format!("now: {}; since boot: {} ({})", say(&throttling.now), say(&throttling.since_boot), throttling.source));
    }
    if let Some(jetson) = &board.jetson {
        line(
            "jetson",
            format!(
                "L4T {}, JetPack {}, CUDA {}",
                jetson.l4t.clone().unwrap_or_else(absent),
                jetson.jetpack.clone().unwrap_or_else(|| "not in the table".into()),
                jetson.cuda.clone().unwrap_or_else(absent)
            ),
        );
    }
    line("system", board.os.clone().unwrap_or_else(absent));
    line("kernel", format!("{}, glibc {}", board.kernel.clone().unwrap_or_else(absent), board.glibc.clone().unwrap_or_else(absent)));
    if board.cameras.is_empty() {
        line("camera", "none found".into());
    }
    for camera in &board.cameras {
        line("camera", format!("{}  {}", camera.device, camera.name));
    }
    line(
        "suits",
        match board.advice.variant {
            Some(variant) => format!("bundle variant {}, {} threads: {}", variant.name(), board.advice.threads, board.advice.why),
            None => format!("no bundle: {}", board.advice.why),
        },
    );
    out
}
