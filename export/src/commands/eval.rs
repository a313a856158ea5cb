mod captions;
mod compare;
mod examples;
mod left_out;
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
