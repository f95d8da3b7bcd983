//! What `init` asks when it is not told to ask nothing.

use std::io::{BufRead, Write};
use std::net::IpAddr;

use super::CliError;
use super::init::Init;

/// Asks for what matters most. An empty answer leaves what the command line says.
pub(super) fn ask(
    mut init: Init,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<Init, CliError> {
    let mut questions = Questions { input, output };
    if questions
        .answer("SMP server will be initialized (press Enter)")?
        .is_none()
    {
        return Err(CliError::NoAnswer);
    }
    let store = "Enable store log to restore queues and messages on server restart";
    init.store_log = questions.yes(store, !init.disable_store_log)?;
    init.disable_store_log = !init.store_log;
    init.daily_stats = questions.yes("Enable logging daily statistics", init.daily_stats)?;
    let password = questions.answer(
        "Require a password to create new messaging queues?\n\
         'r' for a random one, 'n' for none, or your own, without spaces, `@`, `:` and `/`",
    )?;
    match password.as_deref().unwrap_or_default() {
        "" => {}
        "n" => (init.no_password, init.password) = (true, None),
        "r" => (init.no_password, init.password) = (false, None),
        own => (init.no_password, init.password) = (false, Some(own.to_owned())),
    }
    let host = init.fqdn.as_ref().unwrap_or(&init.ip);
    let question = format!("Enter server FQDN or IP address for certificate ({host})");
    let host = questions.answer(&question)?.unwrap_or_default();
    match host.parse::<IpAddr>() {
        _ if host.is_empty() => {}
        Ok(_) => (init.fqdn, init.ip) = (None, host),
        Err(_) => init.fqdn = Some(host),
    }
    Ok(init)
}

struct Questions<'a, R, W> {
    input: &'a mut R,
    output: &'a mut W,
}

impl<R: BufRead, W: Write> Questions<'_, R, W> {
    /// The answer without its end; nothing where the input has ended.
    fn answer(&mut self, question: &str) -> Result<Option<String>, CliError> {
        write!(self.output, "{question}: ")?;
        self.output.flush()?;
        let mut line = String::new();
        let read = self.input.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim().to_owned()))
    }

    fn yes(&mut self, question: &str, default: bool) -> Result<bool, CliError> {
        let choice = if default { "Yn" } else { "yN" };
        loop {
            let answer = self.answer(&format!("{question} ({choice})"))?;
            match answer.unwrap_or_default().to_ascii_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(answers: &str) -> Result<(Init, String), CliError> {
        let mut init = Init::for_run();
        init.no_password = false;
        let mut said = Vec::new();
        let init = ask(init, &mut answers.as_bytes(), &mut said)?;
        Ok((init, String::from_utf8(said).unwrap()))
    }

    #[test]
    fn empty_answers_leave_what_the_command_line_says() {
        let (init, said) = answered("\n\n\n\n\n").unwrap();
        assert!(init.store_log && !init.disable_store_log && !init.daily_stats);
        assert!(!init.no_password && init.password.is_none());
        assert_eq!((init.fqdn, init.ip.as_str()), (None, "localhost"));
        assert!(said.contains("server restart (Yn): Enable logging daily statistics (yN): "));
        assert!(said.ends_with("for certificate (localhost): "));
    }

    #[test]
    fn answers_are_taken() {
        let (init, _) = answered("\nn\nwhat\ny\nsecret\nsmp.example.com\n").unwrap();
        assert!(init.disable_store_log && init.daily_stats);
        assert_eq!(init.password.as_deref(), Some("secret"));
        assert_eq!(init.fqdn.as_deref(), Some("smp.example.com"));
        let (init, _) = answered("\ny\nn\nn\n203.0.113.9\n").unwrap();
        assert!(init.no_password && init.fqdn.is_none());
        assert_eq!(init.ip, "203.0.113.9");
    }

    #[test]
    fn nobody_to_answer_is_an_error_and_an_end_is_an_empty_answer() {
        assert!(matches!(answered(""), Err(CliError::NoAnswer)));
        assert!(answered("\n").is_ok());
    }
}
