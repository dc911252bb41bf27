//! The flags every binary has, and the one place where configuration is printed and where what was
//! said wrongly becomes an exit code.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::layers::Layers;
use super::reader::Reader;
use super::{Configure, print, resolve};

/// Exit code for wrong arguments and for a configuration with faults (`EX_USAGE`); a failure at run
/// time exits with 1.
pub const EXIT_CONFIGURATION: u8 = 64;

/// Flags of every binary; flatten them into its own.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// TOML file to read; the variable `LINECAST_<SERVICE>_CONFIG` can name it too
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one key, over the file and the environment; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Checks the configuration and exits
    #[arg(long)]
    pub check: bool,
    /// Prints the effective configuration as TOML, with who set what, and exits
    #[arg(long)]
    pub print_config: bool,
    /// Prints a table of all configuration keys as Markdown and exits
    #[arg(long)]
    pub reference: bool,
}

/// What is left to do after the configuration was loaded.
#[derive(Debug)]
pub enum Outcome<C> {
    /// Run with this configuration.
    Run(C),
    /// All was said that there is to say: exit.
    Exit(ExitCode),
}

/// The whole of a program: reads its arguments, the first of which is its name, and runs it. Help and
/// version are answers and exit with 0; arguments that mean nothing exit with
/// [`EXIT_CONFIGURATION`].
pub fn main<P: clap::Parser>(
    args: impl IntoIterator<Item = OsString>,
    run: impl FnOnce(P) -> ExitCode,
) -> ExitCode {
    match P::try_parse_from(args) {
        Ok(program) => run(program),
        Err(error) => {
            // Nobody to tell it to if this fails.
            let _ = error.print();
            let wrong = error.use_stderr();
            if wrong { ExitCode::from(EXIT_CONFIGURATION) } else { ExitCode::SUCCESS }
        }
    }
}

/// Loads the configuration of the binary whose environment variables start with `prefix` (such as
/// `LINECAST_EDGE`), prints what the flags ask for, or every fault.
pub fn load<C: Configure>(args: &Args, prefix: &str) -> Outcome<C> {
    let answer = if args.reference {
        Ok(reference::<C>(prefix))
    } else {
        let layers = layers(args, prefix, std::env::vars_os());
        if args.print_config {
            effective::<C>(layers)
        } else {
            match resolve::<C>(layers, read_file) {
                Ok(config) if !args.check => return Outcome::Run(config),
                Ok(_) => Ok("configuration ok\n".to_owned()),
                Err(faults) => Err(faults),
            }
        }
    };
    let answer = answer.map_err(|faults| faults.to_string());
    Outcome::Exit(say(answer))
}

/// The Markdown table of all keys of a configuration.
pub fn reference<C: Configure>(prefix: &str) -> String {
    let mut reader = Reader::documenting(prefix);
    C::read(&mut reader);
    print::reference(&reader.into_entries())
}

/// The effective configuration as TOML, without its secrets.
pub fn effective<C: Configure>(layers: Layers) -> Result<String, super::Faults> {
    let mut reader = Reader::new(layers, read_file);
    C::read(&mut reader);
    Ok(print::effective(&reader.finish_entries()?))
}

/// Gathers the file, the environment and the flags.
fn layers(
    args: &Args,
    prefix: &str,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Layers {
    let start = format!("{prefix}_");
    let config_variable = format!("{start}CONFIG");
    let mut layers = Layers::new(prefix);
    let mut config = args.config.clone();
    let mut variables = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(&start)) else {
            continue;
        };
        if name == config_variable {
            config = config.or(Some(PathBuf::from(value)));
            continue;
        }
        match value.into_string() {
            Ok(value) => variables.push((name.to_owned(), value)),
            Err(_) => layers = layers.with_fault(&format!("environment {name}"), "is not UTF-8"),
        }
    }
    if let Some(path) = config {
        let name = path.display().to_string();
        layers = match read_file(&path) {
            Ok(text) => layers.with_file(&name, &text),
            Err(error) => {
                layers.with_fault(&format!("file {name}"), &format!("cannot be read: {error}"))
            }
        };
    }
    layers.with_environment(variables).with_flags(args.set.iter().map(String::as_str))
}

fn read_file(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

/// Says what there is to say. A reader that has gone away (`| head`) is no failure.
fn say(answer: Result<String, String>) -> ExitCode {
    match answer {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(text) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::from(EXIT_CONFIGURATION)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sample(u16);

    impl Configure for Sample {
        fn read(reader: &mut Reader) -> Self {
            Self(reader.value("port", 7400, "a port"))
        }
    }

    fn port(args: &Args, environment: &[(&str, &str)]) -> Result<u16, String> {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        let config = resolve::<Sample>(layers(args, "LINECAST_T", environment), read_file);
        config.map(|config| config.0).map_err(|faults| faults.to_string())
    }

    #[test]
    fn the_file_is_named_by_flag_or_environment() {
        let folder = std::env::temp_dir();
        let file = |name: &str, port: u16| {
            let path = folder.join(format!("linecast-cli-{}-{name}.toml", std::process::id()));
            std::fs::write(&path, format!("port = {port}")).unwrap();
            path
        };
        let (first, second) = (file("first", 1), file("second", 2));
        let variable = [("LINECAST_T_CONFIG", second.to_str().unwrap()), ("LINECAST_TX", "1")];
        assert_eq!(port(&Args::default(), &[]), Ok(7400));
        assert_eq!(port(&Args::default(), &variable), Ok(2));
        let flag = Args { config: Some(first.clone()), ..Args::default() };
        assert_eq!(port(&flag, &variable), Ok(1));
        let flags = Args { set: vec!["port=3".to_owned()], ..flag };
        assert_eq!(port(&flags, &variable), Ok(3));
        for path in [first, second] {
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_fault_among_others() {
        let args = Args {
            config: Some(PathBuf::from("/nowhere/linecast.toml")),
            set: vec!["port=x".to_owned()],
            ..Args::default()
        };
        let faults = port(&args, &[]).unwrap_err();
        assert!(faults.contains("2 faults"), "{faults}");
        assert!(faults.contains("file /nowhere/linecast.toml"), "{faults}");
    }

    #[test]
    fn wrong_arguments_have_an_exit_code_of_their_own() {
        #[derive(clap::Parser)]
        #[command(version)]
        struct Program {
            #[command(flatten)]
            args: Args,
        }
        let exit = |args: &[&str]| {
            let args = ["program"].iter().chain(args).map(OsString::from);
            main(args, |program: Program| ExitCode::from(u8::from(program.args.check)))
        };
        assert_eq!(exit(&[]), ExitCode::SUCCESS);
        assert_eq!(exit(&["--check"]), ExitCode::from(1), "it was run");
        assert_eq!(exit(&["--help"]), ExitCode::SUCCESS);
        assert_eq!(exit(&["--version"]), ExitCode::SUCCESS);
        for wrong in [&["--chekc"][..], &["now"], &["--set"], &["--check", "--check"]] {
            assert_eq!(exit(wrong), ExitCode::from(EXIT_CONFIGURATION), "{wrong:?}");
        }
    }

    #[test]
    fn only_plain_loading_runs() {
        let plain = load::<Sample>(&Args::default(), "LINECAST_T");
        assert!(matches!(plain, Outcome::Run(Sample(7400))));
        for args in [
            Args { check: true, ..Args::default() },
            Args { print_config: true, ..Args::default() },
            Args { reference: true, ..Args::default() },
            Args { set: vec!["prot=1".to_owned()], ..Args::default() },
        ] {
            assert!(matches!(load::<Sample>(&args, "LINECAST_T"), Outcome::Exit(_)), "{args:?}");
        }
    }
}
