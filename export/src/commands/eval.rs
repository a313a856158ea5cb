mod captions;
mod compare;
mod quantization;
mod segmentation;
mod show;
mod source;
mod video;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Measure a bundle on labelled pictures.
///
/// Without a task: `segmentation`, whose options these are.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Eval {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    segmentation: Option<segmentation::Segmentation>,
}

#[derive(Subcommand)]
enum Task {
    Segmentation(segmentation::Segmentation),
    Tags(captions::Tags),
    Caption(captions::Caption),
    Compare(compare::Compare),
    Quantization(quantization::Quantization),
    Video(video::Video),
}

impl Eval {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match (self.task, self.segmentation) {
            (Some(Task::Segmentation(task)), _) | (None, Some(task)) => task.run(),
            (Some(Task::Tags(task)), _) => task.run(),
            (Some(Task::Caption(task)), _) => task.run(),
            (Some(Task::Compare(task)), _) => task.run(),
            (Some(Task::Quantization(task)), _) => task.run(),
            (Some(Task::Video(task)), _) => task.run(),
            (None, None) => {
                anyhow::bail!("a task, or --model, --images, --labels, --classes and --view: see `edge-seg-export eval --help`")
            }
        }
    }
}
