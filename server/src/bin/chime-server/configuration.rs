//! The effective settings: flags override variables, which override the file, which overrides defaults.

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;

use chime_server::ListenerConfig;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use serde::Serialize;

use crate::file::{File, settings_of};
use crate::flags::{Flags, VARIABLE_PREFIX, variable_of};
use crate::listener::{Listener, Transport};

/// The variables of `chime-client`.
const CLIENT_VARIABLES: [&str; 2] = ["CHIME_SERVER", "CHIME_TIMEOUT"];

/// The effective settings.
pub(crate) struct Configuration {
    pub(crate) flags: Flags,
    listeners: Vec<Listener>,
    matches: ArgMatches,
}

impl Configuration {
    /// Reads the arguments and the environment of this process, and the file. Exits the process on an invalid
    /// setting and for `--help`.
    pub(crate) fn from_process() -> Configuration {
        let command = Flags::command_with_variables();
        let configuration = Configuration::read(&command, env::args_os().collect());
        configuration.unwrap_or_else(|error| error.exit())
    }

    fn read(command: &Command, arguments: Vec<OsString>) -> Result<Configuration, clap::Error> {
        let given = command.clone().try_get_matches_from(&arguments);
        let given = given.map_err(|error| blame_variable(error, command, &arguments))?;
        let flags = Flags::from_arg_matches(&given)?;
        let file = match flags.config {
            // The manual and completions do not depend on the file, so they are printed even if it is invalid.
            Some(path) if !flags.manual && flags.completions.is_none() => {
                File::read(&path, command)
                    .map_err(|error| usage_error(ErrorKind::ValueValidation, &error))?
            }
            _ => File::default(),
        };
        let is_given = |id: &str| {
            let source = given.value_source(id);
            source.is_some_and(|source| source != ValueSource::DefaultValue)
        };
        let settings = file.settings.into_iter();
        let from_file = settings
            .filter(|setting| !is_given(&setting.id))
            .filter_map(|setting| setting.argument)
            .map(OsString::from);
        // Inserts the settings of the file as arguments, between the program name and the other arguments.
        let mut merged = arguments;
        let name_end = merged.len().min(1);
        merged.splice(name_end..name_end, from_file);
        let matches = command.clone().try_get_matches_from(merged)?;
        let configuration = Configuration {
            flags: Flags::from_arg_matches(&matches)?,
            listeners: file.listeners,
            matches,
        };
        if configuration.tcp(false).is_empty() && configuration.udp(false).is_empty() {
            let message = "--no-tcp and --no-udp leave nothing to serve";
            return Err(usage_error(ErrorKind::ArgumentConflict, message));
        }
        let tcp = configuration.tcp(false).into_iter();
        let tcp: Vec<_> = tcp.map(|(address, _)| address).collect();
        for (transport, addresses) in [("tcp", tcp), ("udp", configuration.udp(false))] {
            if let Some(address) = duplicate(&addresses) {
                let message = format!("the {transport} address {address} is given more than once");
                return Err(usage_error(ErrorKind::ArgumentConflict, &message));
            }
        }
        Ok(configuration)
    }

    /// Returns the TCP addresses to bind, with their configuration.
    pub(crate) fn tcp(&self, sockets_are_inherited: bool) -> Vec<(SocketAddr, ListenerConfig)> {
        if self.flags.no_tcp {
            return Vec::new();
        }
        let from_flags = self.unless_replaced("tcp", &self.flags.tcp, sockets_are_inherited);
        let from_flags = from_flags
            .iter()
            .map(|address| (*address, self.listener_config()));
        let listeners = self.listeners_of(Transport::Tcp);
        let from_tables =
            listeners.map(|listener| (listener.address, listener.listener_config(&self.flags)));
        from_flags.chain(from_tables).collect()
    }

    /// Returns the UDP addresses to bind.
    pub(crate) fn udp(&self, sockets_are_inherited: bool) -> Vec<SocketAddr> {
        if self.flags.no_udp {
            return Vec::new();
        }
        let from_flags = self.unless_replaced("udp", &self.flags.udp, sockets_are_inherited);
        let listeners = self.listeners_of(Transport::Udp);
        let from_tables = listeners.map(|listener| listener.address);
        from_flags.iter().copied().chain(from_tables).collect()
    }

    /// Returns the configuration of TCP listeners that have no table.
    pub(crate) fn listener_config(&self) -> ListenerConfig {
        ListenerConfig {
            service: self.flags.service,
            framing: self.flags.framing,
            proxies: None,
        }
    }

    fn listeners_of(&self, transport: Transport) -> impl Iterator<Item = &Listener> {
        let listeners = self.listeners.iter();
        listeners.filter(move |listener| listener.transport == transport)
    }

    /// Returns the addresses of a flag; none if they are defaults that other sockets replace.
    fn unless_replaced<'a>(
        &self,
        id: &str,
        addresses: &'a [SocketAddr],
        sockets_are_inherited: bool,
    ) -> &'a [SocketAddr] {
        let has_others = sockets_are_inherited || !self.listeners.is_empty();
        if has_others && is_default(&self.matches, id) {
            return &[];
        }
        addresses
    }

    /// Returns the settings as an equivalent file. Unset settings are comments, and so are default addresses,
    /// which other sockets replace.
    pub(crate) fn to_toml(&self) -> Result<String, toml::ser::Error> {
        #[derive(Serialize)]
        struct Tables<'a> {
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            listener: &'a [Listener],
        }
        let command = Flags::command();
        let settings = settings_of(&command);
        let lines = settings.map(|(name, arg)| setting_line(name, arg, &self.matches));
        let lines: String = lines.collect();
        let tables = toml::to_string(&Tables {
            listener: &self.listeners,
        })?;
        let gap = if tables.is_empty() { "" } else { "\n" };
        Ok(lines + gap + &tables)
    }
}

/// Returns an address that another one equals. Port 0 stands for any free port, so it may be given more than once.
fn duplicate(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let mut all = addresses.iter().enumerate();
    let duplicate =
        all.find(|(index, address)| address.port() != 0 && addresses[..*index].contains(address));
    duplicate.map(|(_, address)| *address)
}

/// Returns the variables of the environment whose names begin like those of settings, but are none.
pub(crate) fn unknown_variables() -> Vec<String> {
    let command = Flags::command_with_variables();
    let settings = command.get_arguments().map(variable_of);
    let known: Vec<String> = settings.chain(CLIENT_VARIABLES.map(String::from)).collect();
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut unknown: Vec<_> = names
        .filter(|name| name.starts_with(VARIABLE_PREFIX) && !known.contains(name))
        .collect();
    unknown.sort();
    unknown
}

fn setting_line(name: &str, arg: &Arg, matches: &ArgMatches) -> String {
    let id = arg.get_id().as_str();
    if let ArgAction::SetTrue = arg.get_action() {
        return format!("{name} = {}\n", matches.get_flag(id));
    }
    let Some(values) = matches.get_raw(id) else {
        return format!("# {name} is not set\n");
    };
    let values = values.map(|value| toml_value(&value.to_string_lossy()));
    let values: Vec<_> = values.collect();
    match arg.get_action() {
        ArgAction::Append if is_default(matches, id) => {
            format!("# {name} = [{}]\n", values.join(", "))
        }
        ArgAction::Append => format!("{name} = [{}]\n", values.join(", ")),
        _ => format!("{name} = {}\n", values.concat()),
    }
}

fn toml_value(text: &str) -> String {
    match text.parse::<u32>() {
        Ok(number) => number.to_string(),
        Err(_) => toml::Value::from(text).to_string(),
    }
}

fn is_default(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::DefaultValue)
}

/// Replaces the flag with its variable in an error that only occurs with variables.
fn blame_variable(
    mut error: clap::Error,
    command: &Command,
    arguments: &[OsString],
) -> clap::Error {
    let without_variables = command.clone().mut_args(|arg| arg.env(None::<&str>));
    let flag = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    let name = flag
        .as_deref()
        .and_then(|flag| flag.strip_prefix("--")?.split(' ').next());
    let mut args = command.get_arguments();
    let arg = args.find(|arg| name.is_some() && arg.get_long() == name);
    if let Some(variable) = arg.and_then(Arg::get_env)
        && without_variables.try_get_matches_from(arguments).is_ok()
    {
        let name = ContextValue::String(variable.to_string_lossy().into_owned());
        error.insert(ContextKind::InvalidArg, name);
    }
    error
}

fn usage_error(kind: ErrorKind, message: &str) -> clap::Error {
    clap::Error::raw(kind, format!("{message}\n"))
}
