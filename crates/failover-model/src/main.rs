use std::time::Instant;
use failover_model::*;
use stateright::{Checker, Model, HasDiscoveries};
fn main() {
    let mut rules = Rules::ALL;
    let mut bounds = Bounds { writes: 2, promotions: 2, expiry: true };
    let mut depth = 0; let mut threads = 1; let mut trace = true;
    for a in std::env::args().skip(1) {
        let (k, v) = a.split_once('=').unwrap_or((&a, "0"));
        let n: usize = v.parse().unwrap();
        match k {
            "first" => rules = Rules::FIRST,
            "rewrite" => rules.rewrite = n > 0, "count" => rules.count = n > 0, "seal" => rules.seal = n > 0, "retake" => rules.retake = n > 0,
            "settle" => rules.settle = n > 0, "relook" => rules.relook = n > 0, "names" => rules.names = n > 0, "detach" => rules.detach = n > 0, "reclone" => rules.reclone = n > 0,
            "writes" => bounds.writes = n as u8, "promotions" => bounds.promotions = n as u8, "expiry" => bounds.expiry = n > 0,
            "depth" => depth = n, "threads" => threads = n, "trace" => trace = n > 0,
            _ => panic!("{k}"),
        }
    }
    println!("{rules:?} {bounds:?}");
    let t = Instant::now();
    let c = FailoverModel { rules, bounds }.checker().threads(threads).target_max_depth(depth).finish_when(HasDiscoveries::AnyFailures).spawn_bfs();
    let c = c.join();
    println!("unique {} generated {} depth {} in {:?}; state {} bytes", c.unique_state_count(), c.state_count(), c.max_depth(), t.elapsed(), size_of::<failover_model::state::State>());
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().find(|l| l.starts_with("VmHWM")).unwrap());
    for (name, path) in c.discoveries() {
        println!("VIOLATED: {name}");
        if trace { for (i, (s, a)) in path.into_vec().into_iter().enumerate() {
            if let Some(a) = a { println!("{:3} {a:?}", i + 1); } else { println!("{s:?}"); }
        } }
    }
}
