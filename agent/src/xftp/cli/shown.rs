//! How far something is: a bar on a terminal, a line that is written over elsewhere, as scripts know it.

use std::io::{self, IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressStyle};

use super::CliError;

/// Where it is shown what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Output,
    /// The output is the file itself.
    Errors,
}

impl Channel {
    pub(super) fn say(self, text: &str) -> Result<(), CliError> {
        match self {
            Self::Output => writeln!(io::stdout(), "{text}")?,
            Self::Errors => writeln!(io::stderr(), "{text}")?,
        }
        Ok(())
    }

    fn is_terminal(self) -> bool {
        match self {
            Self::Output => io::stdout().is_terminal() && io::stderr().is_terminal(),
            Self::Errors => io::stderr().is_terminal(),
        }
    }

    /// Writes over what was written last. A terminal that is gone does not matter.
    fn write_over(self, text: &str) {
        match self {
            Self::Output => {
                write!(io::stdout(), "\r{text:<25}").ok();
                io::stdout().flush().ok();
            }
            Self::Errors => {
                write!(io::stderr(), "\r{text:<25}").ok();
            }
        }
    }
}

/// How far something is.
pub(super) struct Shown {
    what: &'static str,
    channel: Channel,
    form: Form,
}

enum Form {
    Bar(ProgressBar),
    Line { percent: Option<u64> },
}

impl Shown {
    pub(super) fn new(what: &'static str, channel: Channel) -> Self {
        const BAR: &str =
            "{msg} {percent:>3}% [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(BAR);
        let form = match (channel.is_terminal(), style) {
            (true, Ok(style)) => {
                let style = style.progress_chars("=> ");
                Form::Bar(ProgressBar::new(0).with_style(style).with_message(what))
            }
            (false, _) | (true, Err(_)) => Form::Line { percent: None },
        };
        Self {
            what,
            channel,
            form,
        }
    }

    /// What scripts wait for before there is anything to measure; people see the bar.
    pub(super) fn begin(&self, text: &str) {
        match &self.form {
            Form::Bar(_) => {}
            Form::Line { .. } => self.channel.write_over(text),
        }
    }

    pub(super) fn show(&mut self, done: u64, of: u64) {
        match &mut self.form {
            Form::Bar(bar) => {
                if bar.length() != Some(of) {
                    bar.set_length(of);
                    // What was done before says nothing about the rate.
                    bar.set_position(done);
                    bar.reset_eta();
                }
                bar.set_position(done);
            }
            Form::Line { percent: shown } => {
                let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
                if shown.replace(percent) != Some(percent) {
                    self.channel
                        .write_over(&format!("{} {percent}%", self.what));
                }
            }
        }
    }

    pub(super) fn end(&self, text: &str) -> Result<(), CliError> {
        match &self.form {
            Form::Bar(bar) => {
                bar.finish_and_clear();
                self.channel.say(text)
            }
            Form::Line { .. } => {
                self.channel.write_over(text);
                self.channel.say("")
            }
        }
    }
}
