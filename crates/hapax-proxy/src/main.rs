//! `hapax`: reads what is asked for, does it, and ends with a code that says how it went.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use hapax_proxy::cli::{self, Command, KeysArgs, exit};
use hapax_proxy::config::{Config, LogFormat, StoreSettings};
use hapax_proxy::{demo, keys, serve, stores};

/// A request makes some dozens of small, short-lived allocations on one thread; the system's allocator
/// took a tenth of the processor time for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(usage) => {
            usage.print();
            return usage.exit_code().into();
        }
    };
    let environment = |name: &str| std::env::var(name).ok();
    let sources = cli.sources(&environment);
    match &cli.command {
        Command::Serve(_) => match Config::load(&sources) {
            Ok(config) => run(config),
            Err(errors) => refuse(&errors, exit::CONFIG),
        },
        Command::Check(arguments) => on_runtime(hapax_check::run((**arguments).clone())),
        Command::Config(verb) => match verb.run(&sources) {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(errors) => refuse(&errors, exit::CONFIG),
        },
        Command::Keys(arguments) => ask(arguments, &environment),
        Command::Demo(arguments) => on_runtime(demo::run(arguments)),
        Command::Migrate(_) => match StoreSettings::load(&sources) {
            Ok(settings) => migrate(&settings),
            Err(errors) => refuse(&errors, exit::CONFIG),
        },
    }
}

/// Serves until told to stop.
fn run(config: Config) -> ExitCode {
    log(config.log_format);
    // Administration and background work; requests have their cores.
    on_runtime(async {
        let told = hapax_proxy::signals::told_to_stop();
        match serve::start(config).await {
            Ok(running) => {
                told.await;
                running.stop().await;
                ExitCode::SUCCESS
            }
            Err(error) => refuse(&error, error.exit_code),
        }
    })
}

/// Brings a database to the tables of this release.
fn migrate(settings: &StoreSettings) -> ExitCode {
    on_runtime(async {
        match stores::migrate(settings).await {
            Ok(done) => {
                print!("{done}");
                ExitCode::SUCCESS
            }
            Err(error) => refuse(&error, error.exit_code),
        }
    })
}

/// Looks at records or settles them, through the admin listener of a gateway.
fn ask(arguments: &KeysArgs, environment: &dyn Fn(&str) -> Option<String>) -> ExitCode {
    on_runtime(async {
        match keys::run(arguments, environment).await {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => refuse(&error, error.exit_code()),
        }
    })
}

fn on_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => refuse(&format!("failed to start: {error}"), exit::UNAVAILABLE),
    }
}

fn log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HAPAX_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text if std::io::stderr().is_terminal() => builder.init(),
        // Files and collectors of logs do not read colours.
        LogFormat::Text => builder.with_ansi(false).init(),
    }
}

fn refuse(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("hapax: {error}");
    code.into()
}
