//! The verbs `fault`, `heal`, `probe` and `nemesis`. Each writes JSON to standard output and answers with its exit code, so that any tool can use them.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use clap::{Arg, ArgMatches, Command, FromArgMatches, Subcommand};

use super::{
    catalogue::{Bounds, KINDS, Kind, Parameter},
    nemesis::Nemesis,
    order::Order,
    probes::Question,
};
use crate::stage::{Target, target::TargetArgs};

/// Break something
#[derive(Clone, Debug, clap::Args)]
pub struct FaultArgs {
    #[command(subcommand)]
    what: What,
}

/// A kind of the catalogue, or the catalogue itself.
#[derive(Clone, Debug)]
enum What {
    List { json: bool },
    Make { order: Order, target: TargetArgs, wait: bool },
}

/// Undo faults before their time
#[derive(Clone, Debug, clap::Args)]
pub struct HealArgs {
    /// This one [default: all]
    #[arg(long, conflicts_with = "all")]
    fault: Option<u64>,
    /// All
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Ask something; exit code 0 for yes, 1 for no
#[derive(Clone, Debug, clap::Args)]
pub struct ProbeArgs {
    #[command(subcommand)]
    question: Question,
    #[command(flatten)]
    target: GlobalTarget,
    /// Ask again until the answer is yes, for so long at most
    #[arg(long, default_value = "0s", value_parser = duration, global = true)]
    within: Duration,
}

/// A target that can stand after the question, too.
#[derive(Clone, Debug, clap::Args)]
struct GlobalTarget {
    /// The cluster: stage:DIR (of `cluster up`), dev:DIR (of `quorusd dev`), or host:port,…
    #[arg(long, env = "QUORUS_CHAOS_TARGET", default_value = crate::stage::target::DEFAULT, value_name = "TARGET", global = true)]
    target: Target,
    /// Allow addresses outside of this machine
    #[arg(long, global = true)]
    allow_remote: bool,
}

/// Break one thing after the other, drawn from a seed
#[derive(Clone, Debug, clap::Args)]
pub struct NemesisArgs {
    /// Draws everything
    #[arg(long)]
    seed: u64,
    /// Kinds, separated by commas; `servers` are all that do not touch workers nor need disks that can be broken, `disks` those that do
    #[arg(long, default_value = "servers")]
    kinds: String,
    /// About so long from one fault to the next
    #[arg(long, default_value = "8s", value_parser = duration)]
    interval: Duration,
    /// Until so many faults are made
    #[arg(long, required_unless_present = "duration")]
    count: Option<u64>,
    /// Until this time is over
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    target: TargetArgs,
}

/// `fault`.
pub async fn fault(args: FaultArgs) -> anyhow::Result<ExitCode> {
    match args.what {
        What::List { json: true } => anstream::println!("{}", serde_json::to_string_pretty(KINDS)?),
        What::List { json: false } => anstream::print!("{}", table()),
        What::Make { order, target, wait } => {
            let mut remote = target.remote().await?;
            let made = match remote.make(&order).await {
                Ok(made) => made,
                Err(error) => return Ok(failed(&error)),
            };
            anstream::println!("{}", serde_json::to_string(&made)?);
            if wait && made.for_ms.is_some() {
                // If this process goes away now, the fault goes with it: it is tied to the connection.
                tokio::select! {
                    ended = remote.wait(made.fault) => ended?,
                    _ = tokio::signal::ctrl_c() => {
                        anstream::eprintln!("undoes it");
                        return Ok(ExitCode::FAILURE);
                    }
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `heal`.
pub async fn heal(args: HealArgs) -> anyhow::Result<ExitCode> {
    let mut remote = args.target.remote().await?;
    let healed = match args.fault {
        Some(fault) => remote.heal(fault).await.map(|made| vec![made]),
        None => remote.heal_all().await,
    };
    match healed {
        Ok(healed) => anstream::println!("{}", serde_json::to_string(&healed)?),
        Err(error) => return Ok(failed(&error)),
    }
    Ok(ExitCode::SUCCESS)
}

/// `probe`.
pub async fn probe(args: ProbeArgs) -> anyhow::Result<ExitCode> {
    let target = TargetArgs { target: args.target.target, allow_remote: args.target.allow_remote };
    match args.question.ask(&target, args.within).await {
        Ok(answer) => {
            anstream::println!("{}", answer.value);
            Ok(if answer.yes { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => Ok(failed(&error)),
    }
}

/// `nemesis`.
pub async fn nemesis(args: NemesisArgs) -> anyhow::Result<ExitCode> {
    let target = if matches!(args.target.target, Target::Dev(_)) { "dev" } else { "stage" };
    let kinds = Nemesis::kinds_of(&args.kinds, target)?;
    let nemesis = Nemesis { seed: args.seed, kinds, interval: args.interval, count: args.count, duration: args.duration };
    let summary = tokio::select! {
        summary = nemesis.run(&args.target, |line| anstream::eprintln!("{line}")) => summary,
        // The fault in force is tied to the connection that this drops.
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match summary {
        Ok(summary) => {
            anstream::eprintln!("{summary}");
            anstream::println!("{}", serde_json::to_string(&summary)?);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(failed(&error)),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    anstream::eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn table() -> String {
    let mut lines = vec![format!("{:<18} {:<9} {:<11} {:<10} WHAT", "KIND", "ON", "FOR", "NEEDS")];
    for kind in KINDS {
        let lasts = if kind.lasting { format!("{} s", kind.for_ms / 1000) } else { "an event".to_owned() };
        let needs = if kind.needs.contains(&"dev") { "any" } else { kind.needs.first().copied().unwrap_or_default() };
        lines.push(format!("{:<18} {:<9} {lasts:<11} {needs:<10} {}; undone: {}", kind.name, kind.target, kind.about, kind.undone));
        for parameter in kind.parameters {
            lines.push(format!("{:<51} --{} [{}] {}", "", parameter.name, parameter.default, parameter.about));
        }
    }
    lines.join("\n") + "\n"
}

/// `10s`, `250ms`, `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err("expected a number with a unit, such as 250ms, 10s, 2m".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number with a unit, such as 250ms, 10s, 2m".to_owned())?;
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(|| "it is too long".to_owned())
}

impl Subcommand for What {
    fn augment_subcommands(command: Command) -> Command {
        let json = Arg::new("json").long("json").action(clap::ArgAction::SetTrue).help("As JSON");
        let list = Command::new("list").about("Say which faults there are").arg(json);
        KINDS
            .iter()
            .map(command_of)
            .fold(command.subcommand_required(true).arg_required_else_help(true).subcommand(list), Command::subcommand)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        name == "list" || KINDS.iter().any(|kind| kind.name == name)
    }
}

impl FromArgMatches for What {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (name, matches) = matches.subcommand().ok_or_else(|| clap::Error::new(clap::error::ErrorKind::MissingSubcommand))?;
        if name == "list" {
            return Ok(Self::List { json: matches.get_flag("json") });
        }
        let kind = Kind::of(name).map_err(|error| clap::Error::raw(clap::error::ErrorKind::InvalidSubcommand, format!("{error}\n")))?;
        let given = |parameter: &Parameter| Some((parameter.name.to_owned(), matches.get_one::<String>(parameter.name)?.clone()));
        let parameters: BTreeMap<String, String> = kind.parameters.iter().filter_map(given).collect();
        kind.settle(&parameters).map_err(|error| clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{error:#}\n")))?;
        let wait = matches.get_flag("wait");
        let order = Order {
            kind: name.to_owned(),
            target: matches.get_one::<String>("node").cloned(),
            for_ms: kind
                .lasting
                .then(|| matches.get_one::<Duration>("for"))
                .flatten()
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            seed: matches.get_one::<u64>("seed").copied().unwrap_or(1),
            parameters,
            allow_majority: matches.get_flag("allow-majority"),
            tied: wait,
        };
        Ok(Self::Make { order, target: TargetArgs::from_arg_matches(matches)?, wait })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn command_of(kind: &'static Kind) -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(clap::ArgAction::SetTrue).help(help);
    let who = format!(
        "On whom: 2, 1,3, leader, leader:5, follower:5, leader-of-run:ID, random, random:2, minority, all; a link: 1>3 [default: {}]",
        kind.target
    );
    let mut command = Command::new(kind.name)
        .after_help(format!("Undone: {}.", kind.undone))
        .arg(Arg::new("node").long("node").visible_aliases(["worker", "on"]).value_name("WHO").help(who))
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_parser(clap::value_parser!(u64))
                .value_name("N")
                .help("Draws what is left to chance [default: 1]"),
        )
        .arg(flag("allow-majority", "Act on more nodes than can be missed"))
        .arg(flag("wait", "Return when it is over, and undo it if this command is interrupted"));
    if kind.lasting {
        let help = format!("How long, at most 10m [default: {} ms]", kind.for_ms);
        command = command.arg(Arg::new("for").long("for").value_parser(duration).value_name("TIME").help(help));
    }
    for parameter in kind.parameters {
        command = command.arg(argument_of(parameter));
    }
    // The shared flags come with a description of their own.
    <TargetArgs as clap::Args>::augment_args(command).about(kind.about)
}

fn argument_of(parameter: &'static Parameter) -> Arg {
    let range = match parameter.bounds {
        Bounds::Number(least, most) => format!("{least} to {most}; "),
        Bounds::Word(words) => format!("{}; ", words.join(", ")),
        Bounds::Selector => String::new(),
    };
    Arg::new(parameter.name)
        .long(parameter.name)
        .value_name("VALUE")
        .help(format!("{} [{range}default: {}]", parameter.about, parameter.default))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: FaultArgs,
    }

    #[derive(Debug, Parser)]
    struct Probe {
        #[command(flatten)]
        args: ProbeArgs,
    }

    #[test]
    fn every_kind_is_a_command_with_its_own_flags() {
        use clap::CommandFactory as _;
        Line::command().debug_assert();
        Probe::command().debug_assert();
        let line = ["fault", "latency", "--delay-ms", "250", "--node", "1>3", "--for", "2m", "--seed", "9", "--target", "stage:x"];
        let What::Make { order, target, wait } = Line::try_parse_from(line).unwrap().args.what else { panic!("not a fault") };
        assert_eq!((order.for_ms, order.seed, order.target.as_deref(), wait), (Some(120_000), 9, Some("1>3"), false));
        assert_eq!(order.parameters, BTreeMap::from([("delay-ms".to_owned(), "250".to_owned())]));
        assert_eq!(target.target, Target::Stage("x".into()));
    }

    #[test]
    fn what_a_kind_does_not_know_is_refused_by_the_command_line() {
        for line in [
            &["fault", "kill", "--delay-ms", "1"][..],
            &["fault", "reset", "--for", "1s"],
            &["fault", "latency", "--delay-ms", "99999"],
            &["fault", "sing"],
        ] {
            assert!(Line::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_question_takes_the_target_before_and_after_itself() {
        for line in [["probe", "--target", "stage:x", "quiet"], ["probe", "quiet", "--target", "stage:x"]] {
            assert_eq!(Probe::try_parse_from(line).unwrap().args.target.target, Target::Stage("x".into()));
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["5", "s", "5h", "", "99999999999999999999s", "18446744073709551615m"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
