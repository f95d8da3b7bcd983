//! The arguments of a program.

use std::ffi::OsString;

/// The arguments of this process, without what is between `+RTS` and `-RTS`: units and scripts that were written for the routers of the
/// reference implementation pass it, for the runtime of its language.
pub(crate) fn arguments() -> Vec<OsString> {
    without_runtime_options(std::env::args_os())
}

fn without_runtime_options(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut within = false;
    let kept = arguments.filter(|argument| {
        let begins = argument == "+RTS";
        let ends = within && argument == "-RTS";
        let kept = !within && !begins;
        within = (within || begins) && !ends;
        kept
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_runtime_of_the_reference_are_passed_over() {
        let kept = |line: &str| {
            let arguments = line.split(' ').map(OsString::from);
            let kept = without_runtime_options(arguments).into_iter();
            let kept: Vec<_> = kept
                .map(|argument| argument.into_string().unwrap())
                .collect();
            kept.join(" ")
        };
        assert_eq!(kept("smp-server start +RTS -N -RTS"), "smp-server start");
        assert_eq!(kept("smp-server start +RTS -N4 -A16m"), "smp-server start");
        assert_eq!(
            kept("smp-server +RTS -N -RTS start -m"),
            "smp-server start -m"
        );
        assert_eq!(kept("smp-server start -RTS"), "smp-server start -RTS");
    }
}
