//! What the environment says.

use anyhow::{Context, Result, ensure};

use crate::{
    fault::{self, Fault, Target},
    plan,
    stack::Stack,
};

/// What is to be done, and to which stack.
#[derive(Clone, Debug)]
pub struct Settings {
    pub stack: Stack,
    /// Requests of customers a second, of all kinds together.
    pub rate: f64,
    pub plan: Plan,
}

/// Which faults, and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// These, in this order.
    Listed(Vec<Fault>),
    /// Faults of a seed, for some minutes.
    Random { seed: u64, minutes: u64 },
}

pub const RATE_DEFAULT: f64 = 20.0;
const RATE_MAX: f64 = 500.0;
const MINUTES_DEFAULT: &str = "10";
/// Everything that was seen is kept in memory.
const MINUTES_MAX: u64 = 24 * 60;

impl Settings {
    pub fn from_env() -> Result<Self> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let given = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let or = |name: &str, default: &str| given(name).unwrap_or_else(|| default.to_owned());
        let port = |name: &str, default: &str| -> Result<u16> {
            let text = or(name, default);
            text.parse().with_context(|| format!("{name}={text} is not a port"))
        };
        let rate: f64 = or("RATE", &RATE_DEFAULT.to_string())
            .parse()
            .context("RATE is not a number")?;
        ensure!(
            rate > 0.0 && rate <= RATE_MAX,
            "RATE={rate} is not between 0 and {RATE_MAX} requests a second"
        );
        Ok(Self {
            stack: Stack {
                project: or("COMPOSE_PROJECT_NAME", "zillion"),
                shop: format!("http://127.0.0.1:{}", port("SHOP_PORT", "8080")?),
                edge: format!("http://127.0.0.1:{}", port("EDGE_PORT", "8081")?),
                shopkeeper_password: String::new(),
            },
            rate,
            plan: plan_of(&given)?,
        })
    }
}

fn plan_of(given: &impl Fn(&str) -> Option<String>) -> Result<Plan> {
    let (actions, targets) = (given("FAULT"), given("TARGET"));
    let chosen = actions.is_some() || targets.is_some();
    let random = given("MINUTES").is_some() || given("SEED").is_some();
    let default = match (chosen, random) {
        (true, true) => {
            anyhow::bail!("FAULT and TARGET name faults, MINUTES and SEED draw them: give one or the other")
        }
        (_, true) => "random",
        _ => "full",
    };
    match given("PLAN").as_deref().unwrap_or(default) {
        "full" => Ok(Plan::Listed(listed(actions.as_deref(), targets.as_deref(), given)?)),
        "short" => Ok(Plan::Listed(plan::short())),
        "random" => {
            let minutes = given("MINUTES").unwrap_or_else(|| MINUTES_DEFAULT.to_owned());
            let minutes: u64 = minutes.parse().context("MINUTES is not a number")?;
            ensure!(
                (1..=MINUTES_MAX).contains(&minutes),
                "MINUTES={minutes} is not between 1 and {MINUTES_MAX}"
            );
            let seed = match given("SEED") {
                Some(seed) => seed.parse().with_context(|| format!("SEED={seed} is not a number"))?,
                None => u64::from(uuid::Uuid::new_v4().as_fields().0),
            };
            Ok(Plan::Random { seed, minutes })
        }
        other => anyhow::bail!("PLAN={other} is none of full, short, random"),
    }
}

/// The full plan, or what was chosen by FAULT and TARGET.
fn listed(actions: Option<&str>, targets: Option<&str>, given: &impl Fn(&str) -> Option<String>) -> Result<Vec<Fault>> {
    let times: u32 = given("TIMES")
        .unwrap_or_else(|| "1".to_owned())
        .parse()
        .context("TIMES")?;
    ensure!((1..=100).contains(&times), "TIMES={times} is not between 1 and 100");
    let Some(targets) = targets else {
        let mut faults = plan::full();
        if let Some(actions) = actions {
            let actions = fault::parse_actions(actions).context("FAULT")?;
            faults.retain(|fault| actions.contains(&fault.action));
        }
        return Ok(faults);
    };
    let is_said = actions.is_some();
    let actions = fault::parse_actions(actions.unwrap_or_default()).context("FAULT")?;
    let targets: Vec<Vec<Target>> = targets
        .split(',')
        .map(|text| fault::parse_targets(text).context("TARGET"))
        .collect::<Result<_>>()?;
    let each = targets.iter().flat_map(|targets| {
        let suiting = actions
            .iter()
            .filter(move |action| is_said || targets.iter().all(|target| action.suits(*target)));
        suiting.map(move |action| Fault {
            times,
            ..Fault::new(*action, targets)
        })
    });
    Ok(each.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn faults(variables: &[(&str, &str)]) -> Vec<String> {
        match read(variables).unwrap().plan {
            Plan::Listed(faults) => faults.iter().map(Fault::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_fault_on_one_target() {
        let one = [("FAULT", "kill"), ("TARGET", "postgres-primary")];
        assert_eq!(faults(&one), ["kill postgres-primary"]);
        let some = [("FAULT", "kill"), ("TARGET", "balancer+edge,cache"), ("TIMES", "2")];
        assert_eq!(
            faults(&some),
            ["kill balancer + edge, 2 times in a row", "kill cache, 2 times in a row"]
        );
    }

    #[test]
    fn what_is_not_said_means_all() {
        assert_eq!(faults(&[]).len(), plan::full().len());
        assert!(
            faults(&[("FAULT", "pause")])
                .iter()
                .all(|fault| fault.starts_with("pause "))
        );
        let on_the_cache = ["kill cache", "stop cache", "pause cache", "cut cache", "memory cache"];
        assert_eq!(faults(&[("TARGET", "cache")]), on_the_cache);
        assert_eq!(faults(&[("TARGET", "cache+user")]).len(), on_the_cache.len());
        // What is asked for in so many words is done, whatever it is good for.
        assert_eq!(faults(&[("FAULT", "slow"), ("TARGET", "cache")]), ["slow cache"]);
    }

    #[test]
    fn a_seed_or_a_time_draws_faults() {
        let plan = read(&[("SEED", "42")]).unwrap().plan;
        assert_eq!(plan, Plan::Random { seed: 42, minutes: 10 });
        assert!(matches!(
            read(&[("MINUTES", "3")]).unwrap().plan,
            Plan::Random { minutes: 3, .. }
        ));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (variables, named) in [
            (vec![("FAULT", "explode")], "FAULT"),
            (vec![("TARGET", "the-moon")], "TARGET"),
            (vec![("RATE", "0")], "RATE"),
            (vec![("MINUTES", "0")], "MINUTES"),
            (vec![("SHOP_PORT", "x")], "SHOP_PORT"),
            (vec![("PLAN", "none")], "PLAN"),
            (vec![("FAULT", "kill"), ("SEED", "1")], "SEED"),
        ] {
            let error = format!("{:#}", read(&variables).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }
}
