//! What every `main` does before it serves, and when it stops.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of bad configuration (`EX_USAGE` of sysexits.h), so that it can be told from a crash.
const EXIT_CONFIG: i32 = 64;

/// A health check that takes longer than this is a failed one.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// A secret is a line, not a book.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// Parses the command line and the environment. Bad configuration ends the process with code 64 and a message that
/// names the variable.
pub fn parse_or_exit<T: clap::Parser>() -> T {
    match T::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => error.exit(),
        Err(error) => {
            let variables = variables_of::<T>(&error);
            let mut message = error.to_string();
            if !variables.is_empty() {
                message.push_str(&format!("\nSet by environment: {}\n", variables.join(", ")));
            }
            exit_config(message.trim_start_matches("error: "))
        }
    }
}

/// Ends the process because its configuration is unusable.
pub fn exit_config(error: impl fmt::Display) -> ! {
    eprintln!("configuration: {error}");
    std::process::exit(EXIT_CONFIG)
}

/// Completes at the first SIGTERM or SIGINT.
pub async fn shutdown_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("Signals can't be listened for: only SIGKILL stops this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
        _ = interrupt.recv() => tracing::info!("SIGINT: shutting down"),
    }
}

/// Asks a process on this machine `GET path`, and says as an exit code whether it answered with success. Container
/// images hold no curl; each binary checks itself with this.
pub async fn health_check(addr: SocketAddr, path: &str) -> ExitCode {
    let addr = loopback(addr);
    let status = tokio::time::timeout(HEALTH_CHECK_TIMEOUT, status_of(addr, path)).await;
    match status {
        Ok(Ok(200..=299)) => ExitCode::SUCCESS,
        Ok(Ok(status)) => {
            eprintln!("http://{addr}{path} answered {status}");
            ExitCode::FAILURE
        }
        Ok(Err(error)) => {
            eprintln!("http://{addr}{path}: {error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("http://{addr}{path}: no answer within {HEALTH_CHECK_TIMEOUT:?}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the address of a peer, `host:port`, as clap's value parsers do.
///
/// # Errors
/// The text is none, in words for whoever configured it.
pub fn parse_address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_address = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if is_address {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not host:port"))
    }
}

/// A secret that is configured as the path of a file and read when it is parsed. White space around it is dropped.
#[derive(Clone)]
pub struct SecretFile(SecretString);

impl SecretFile {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The secret as a [`SecretString`].
    pub fn secret(&self) -> SecretString {
        self.0.clone()
    }

    /// A secret that is in memory already, for tests.
    pub fn from_value(value: &str) -> Self {
        Self(value.to_owned().into())
    }
}

impl FromStr for SecretFile {
    type Err = SecretFileError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let unreadable = |source| SecretFileError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > SECRET_BYTES_MAX {
            return Err(SecretFileError::TooLong { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let secret = text.trim();
        if secret.is_empty() {
            return Err(SecretFileError::Empty { path: path.to_owned() });
        }
        Ok(Self(secret.to_owned().into()))
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretFile(redacted)")
    }
}

/// Why a secret could not be had. The message includes its cause: clap prints only the message.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file is missing or may not be read.
    #[error("cannot read the secret file {path}: {source}")]
    Unreadable {
        /// Where the secret was expected.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds white space only.
    #[error("the secret file {path} is empty")]
    Empty {
        /// The empty file.
        path: String,
    },
    /// The file is no secret, by its size.
    #[error("the secret file {path} is longer than {SECRET_BYTES_MAX} bytes")]
    TooLong {
        /// The long file.
        path: String,
    },
}

/// The environment variables of the arguments that a parse error is about.
fn variables_of<T: clap::CommandFactory>(error: &clap::Error) -> Vec<String> {
    let named: Vec<String> = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => vec![argument.clone()],
        Some(ContextValue::Strings(arguments)) => arguments.clone(),
        _ => Vec::new(),
    };
    let command = T::command();
    // A subcommand's arguments are its own, and the error doesn't say whose they are.
    let arguments = command
        .get_arguments()
        .chain(command.get_subcommands().flat_map(clap::Command::get_arguments));
    let arguments: Vec<_> = arguments.collect();
    named
        .iter()
        .filter_map(|named| {
            let long = named.split_whitespace().next()?.strip_prefix("--")?;
            let argument = arguments.iter().find(|argument| argument.get_long() == Some(long))?;
            Some(argument.get_env()?.to_string_lossy().into_owned())
        })
        .collect()
}

/// Where a process that listens on `addr` can be reached from its own machine.
fn loopback(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

async fn status_of(addr: SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // "HTTP/1.1 200" is all that matters of the answer.
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head).await?;
    std::str::from_utf8(&head[9..])
        .ok()
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[derive(clap::Parser, Debug)]
    struct Arguments {
        #[arg(long, env = "TELEMETRY_TEST_SOME_PORT")]
        port: u16,
        #[arg(long, env = "TELEMETRY_TEST_SOME_PASSWORD_FILE")]
        password_file: SecretFile,
    }

    #[derive(clap::Parser, Debug)]
    struct WithSubcommand {
        #[command(subcommand)]
        _command: Subcommand,
    }

    #[derive(clap::Subcommand, Debug)]
    enum Subcommand {
        Serve(Arguments),
    }

    #[test]
    fn a_subcommand_has_variables_as_well() {
        use clap::Parser as _;
        let error = WithSubcommand::try_parse_from(["x", "serve", "--port", "many"]).unwrap_err();
        assert_eq!(variables_of::<WithSubcommand>(&error), ["TELEMETRY_TEST_SOME_PORT"]);
    }

    #[test]
    fn a_bad_value_is_reported_with_its_environment_variable() {
        use clap::Parser as _;
        let error = Arguments::try_parse_from(["x", "--port", "many", "--password-file", "/dev/null"]).unwrap_err();
        assert_eq!(variables_of::<Arguments>(&error), ["TELEMETRY_TEST_SOME_PORT"]);
        let error = Arguments::try_parse_from(["x"]).unwrap_err();
        assert_eq!(
            variables_of::<Arguments>(&error),
            ["TELEMETRY_TEST_SOME_PORT", "TELEMETRY_TEST_SOME_PASSWORD_FILE"]
        );
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        assert_eq!(parse_address(" cache:6379 ").as_deref(), Ok("cache:6379"));
        for bad in ["", "cache", ":6379", "cache:", "cache:65536"] {
            assert!(parse_address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_is_trimmed_and_never_printed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"  hunter2\n").unwrap();
        let secret: SecretFile = file.path().to_str().unwrap().parse().unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn an_empty_or_missing_secret_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let error = path.parse::<SecretFile>().unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
        let error = "/nowhere/secret".parse::<SecretFile>().unwrap_err();
        assert!(error.to_string().contains("/nowhere/secret"), "{error}");
    }

    #[tokio::test]
    async fn a_health_check_succeeds_only_on_a_2xx_answer() {
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = crate::admin::router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        assert_eq!(status_of(loopback(addr), "/livez").await.unwrap(), 200);
        let success = format!("{:?}", ExitCode::SUCCESS);
        assert_eq!(format!("{:?}", health_check(addr, "/livez").await), success);
        assert_ne!(format!("{:?}", health_check(addr, "/nothing").await), success);
    }
}
