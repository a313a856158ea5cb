mod captions;
mod compare;
mod examples;
mod quantization;
mod segmentation;
mod show;
mod source;
mod video;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use edge_seg_export::eval::LeftOut;

/// Measure a bundle on labelled pictures.
///
/// Without a task: `segmentation`, whose options these are.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Eval {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    segmentation: segmentation::Segmentation,
}

#[derive(Subcommand)]
enum Task {
    Segmentation(segmentation::Segmentation),
    Tags(captions::Tags),
    Caption(captions::Caption),
    Compare(compare::Compare),
    Examples(examples::Examples),
    Quantization(quantization::Quantization),
    Video(video::Video),
}

/// How many were left out, behind a count of what was measured.
fn without(left_out: usize, of: &str) -> String {
    if left_out == 0 { String::new() } else { format!(" ({left_out}{of} left out)") }
}

/// Says which pictures were left out, and the exit status that goes with it.
fn tell_left_out<'a>(left_out: impl IntoIterator<Item = &'a LeftOut>) -> ExitCode {
    let mut count = 0;
    for one in left_out {
        let causes = std::iter::successors(Some(&*one.why as &dyn std::error::Error), |error| error.source());
        eprintln!("edge-seg-export: {}", edge_seg_terminal::joined(causes.map(ToString::to_string)));
        count += 1;
    }
    if count == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("edge-seg-export: left out of the figures: {count} that cannot be read");
    ExitCode::from(2)
}

impl Eval {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.task {
            Some(Task::Segmentation(task)) => task.run(),
            Some(Task::Tags(task)) => task.run(),
            Some(Task::Caption(task)) => task.run(),
            Some(Task::Compare(task)) => task.run(),
            Some(Task::Examples(task)) => task.run(),
            Some(Task::Quantization(task)) => task.run(),
            Some(Task::Video(task)) => task.run(),
            None => self.segmentation.run(),
        }
    }
}
