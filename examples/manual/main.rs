//! Writes the manual pages and the completions for shells into a folder: what the packages ship.
//!
//! They come from the command line itself, so they cannot differ from what `--help` says. The
//! page of the configuration, kinesis-agent.yaml(5), comes from docs/CONFIGURATION.md.

mod page;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use kinesis_agent::command_line::CommandLine;

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("usage: manual FOLDER")?);
    write_pages(&folder.join("man"))?;
    write_completions(&folder.join("completions"))
}

/// kinesis-agent(1), kinesis-agent-COMMAND(1) for each command, and kinesis-agent.yaml(5).
fn write_pages(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(CommandLine::command(), folder)?;
    let configuration = page::of_configuration(include_str!("../../docs/CONFIGURATION.md"));
    std::fs::write(folder.join("kinesis-agent.yaml.5"), configuration)?;
    Ok(())
}

fn write_completions(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut command = CommandLine::command();
    let name = command.get_name().to_owned();
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut command, &name, folder)?;
    }
    Ok(())
}
