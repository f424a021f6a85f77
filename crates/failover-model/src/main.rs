//! Checks the model and prints what it found: state counts, and the shortest way to each violation.

use std::env;
use std::process::ExitCode;

use failover_model::{Bounds, FAILED_OVER, FailoverModel, Rules};
use stateright::{Checker, Model};

const USAGE: &str = "\
usage: failover-model [--first] [--without RULE]... [--with RULE]... [--steps N] [--writes N] [--promotions N] [--recovery]
                      [--deletion-only | --failed-over] [--availability]
  --first          the protocol as it was before this model
  --without RULE   rewrite, count, seal, retake, own-key, settle, names, detach, timelines, numbers or tails
  --with RULE      one of those, or relook, which the protocol hasn't
  --steps N        how many steps a run has at most (16)
  --writes N       how many writes it has at most (2)
  --promotions N   how many promotions it has at most (2)
  --recovery       a primary's log may grow in its recovery from a crash
  --deletion-only  the leader key goes by deletion only, never by itself
  --failed-over    begin after one failover; its steps don't count
  --availability   ask in each state whether a primary is possible";

/// What `sysexits.h` calls a usage error.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let (model, steps) = match parse(env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let checker = model.check(steps);
    println!("{:?}", model.rules);
    println!("{:?}, at most {steps} steps", model.bounds);
    println!(
        "{} states, reached {} times",
        checker.unique_state_count(),
        checker.state_count()
    );
    let mut failed = false;
    for property in model
        .properties()
        .iter()
        .filter(|property| property.expectation.discovery_is_failure())
    {
        let Some(path) = checker.discovery(property.name) else {
            continue;
        };
        failed = true;
        println!("\nNot so: {}", property.name);
        let mut last = None;
        for (state, action) in path.into_vec() {
            match last {
                None => println!("     {state}"),
                Some(action) => println!("{action:?}\n     {state}"),
            }
            last = action;
        }
    }
    ExitCode::from(u8::from(failed))
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<(FailoverModel, usize), String> {
    let mut model = FailoverModel {
        rules: Rules::ALL,
        bounds: Bounds::DEFAULT,
        past: &[],
        availability: false,
    };
    let mut steps = 16;
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u8, String> {
            let value = arguments.next().ok_or(format!("{argument} wants a number"))?;
            value
                .parse()
                .map_err(|_| format!("{argument}: {value} is no number below 256"))
        };
        match argument.as_str() {
            "--first" => model.rules = Rules::FIRST,
            "--deletion-only" => model.bounds.expiry = false,
            "--recovery" => model.bounds.recovery = true,
            "--failed-over" => model.past = FAILED_OVER,
            "--availability" => model.availability = true,
            "--steps" => steps = usize::from(number()?),
            "--writes" => model.bounds.writes = number()?,
            "--promotions" => model.bounds.promotions = number()?,
            "--with" | "--without" => {
                let name = arguments.next().unwrap_or_default();
                *model
                    .rules
                    .by_name(&name)
                    .ok_or(format!("there is no rule called '{name}'"))? = argument == "--with";
            }
            other => return Err(format!("what is {other}?")),
        }
    }
    if model.bounds.promotions > Bounds::PROMOTIONS_MAX {
        return Err(format!("--promotions: {} at most", Bounds::PROMOTIONS_MAX));
    }
    if !model.bounds.expiry && !model.past.is_empty() {
        return Err("--failed-over begins with a key that expired: not with --deletion-only".to_owned());
    }
    Ok((model, steps))
}
