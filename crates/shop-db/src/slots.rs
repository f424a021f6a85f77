//! Users spread over clusters: 4096 logical slots, and a map that says which cluster holds which.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::config::{Variables, parse_hosts};
use crate::{Cluster, ClusterConfig, ConfigError, DbError};

/// How many logical slots there are. Never changes: ids carry their slot.
pub const SLOTS: u16 = 4096;

/// The slot that an id carries.
pub fn slot_of(id: i64) -> u16 {
    // The remainder is in 0..4096, so that nothing is cut off.
    id.rem_euclid(i64::from(SLOTS)) as u16
}

/// The slot of something that has no id yet, such as an e-mail address: by a hash that is the same everywhere, for ever.
pub fn slot_of_key(bytes: &[u8]) -> u16 {
    let hash = Sha256::digest(bytes);
    u16::from_be_bytes([hash[0], hash[1]]) % SLOTS
}

/// All clusters that rows are spread over.
#[derive(Clone)]
pub struct Shards {
    clusters: Vec<Cluster>,
    /// For each slot, the index of its cluster.
    slots: Vec<u8>,
}

impl Shards {
    /// Reads `{prefix}_CLUSTERS` (`main=host:port,host:port;second=...`) and `{prefix}_SLOTS` (`0-2047=main,...`), both
    /// optional, where the prefix is without `_DB`; logins are those of `{prefix}_DB`. Without them there is one cluster,
    /// `main`.
    pub async fn from_env(prefix: &str) -> Result<Self, ShardsError> {
        let (configs, slots) = Self::configs_from_env(prefix)?;
        let mut clusters = Vec::with_capacity(configs.len());
        for config in configs {
            clusters.push(Cluster::connect(config).await?);
        }
        Ok(Self { clusters, slots })
    }

    /// The configuration of every cluster, in order, and the slot map over them.
    pub fn configs_from_env(prefix: &str) -> Result<(Vec<ClusterConfig>, Vec<u8>), ConfigError> {
        Self::configs_from_variables(prefix, &Variables::of_process())
    }

    fn configs_from_variables(
        prefix: &str,
        variables: &Variables<'_>,
    ) -> Result<(Vec<ClusterConfig>, Vec<u8>), ConfigError> {
        let stem = prefix.strip_suffix("_DB").unwrap_or(prefix);
        let base = ClusterConfig::from_variables(&format!("{stem}_DB"), variables)?;
        let clusters_variable = format!("{stem}_CLUSTERS");
        let members = match variables.optional(&clusters_variable) {
            Some(text) => parse_clusters(&clusters_variable, &text)?,
            None => vec![("main".to_owned(), base.hosts.clone())],
        };
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        let slots_variable = format!("{stem}_SLOTS");
        let slots = match variables.required(&slots_variable) {
            Ok(text) => parse_slots(&slots_variable, &text, &names)?,
            Err(_) if names.len() == 1 => vec![0; usize::from(SLOTS)],
            Err(missing) => return Err(missing),
        };
        let configs = members
            .iter()
            .map(|(name, hosts)| {
                let mut config = base.clone();
                config.name = format!("{}.{name}", base.name);
                config.hosts.clone_from(hosts);
                config.set_pool_max(base.pool_max);
                config
            })
            .collect();
        Ok((configs, slots))
    }

    /// One cluster that holds every slot.
    pub fn single(cluster: Cluster) -> Self {
        Self {
            clusters: vec![cluster],
            slots: vec![0; usize::from(SLOTS)],
        }
    }

    /// Clusters under a map from slot to index, for tests of several.
    pub fn with_slots(clusters: Vec<Cluster>, cluster_of_slot: impl Fn(u16) -> u8) -> Self {
        let slots = (0..SLOTS).map(cluster_of_slot).collect();
        Self { clusters, slots }
    }

    /// The cluster that holds `slot`.
    pub fn for_slot(&self, slot: u16) -> &Cluster {
        &self.clusters[usize::from(self.slots[usize::from(slot % SLOTS)])]
    }

    /// The cluster that holds the rows of `id`.
    pub fn for_id(&self, id: i64) -> &Cluster {
        self.for_slot(slot_of(id))
    }

    /// Every cluster, for those who visit all of them.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.clusters.iter()
    }
}

/// Why the shards can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A cluster could not be set up.
    #[error(transparent)]
    Database(#[from] DbError),
}

fn parse_clusters(variable: &str, text: &str) -> Result<Vec<(String, Vec<String>)>, ConfigError> {
    let mut clusters: BTreeMap<&str, ()> = BTreeMap::new();
    let mut members = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, hosts) = part
            .split_once('=')
            .ok_or_else(|| ConfigError::invalid(variable, format!("{part:?} is not name=host:port,...")))?;
        if clusters.insert(name, ()).is_some() {
            return Err(ConfigError::invalid(variable, format!("{name:?} occurs twice")));
        }
        members.push((name.to_owned(), parse_hosts(variable, hosts)?));
    }
    if members.is_empty() || members.len() > usize::from(u8::MAX) {
        return Err(ConfigError::invalid(variable, "must name 1 to 255 clusters"));
    }
    Ok(members)
}

fn parse_slots(variable: &str, text: &str, names: &[&str]) -> Result<Vec<u8>, ConfigError> {
    let mut slots: Vec<Option<u8>> = vec![None; usize::from(SLOTS)];
    for part in text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()) {
        let malformed = || ConfigError::invalid(variable, format!("{part:?} is not first-last=cluster"));
        let (range, name) = part.split_once('=').ok_or_else(malformed)?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: u16 = first.parse().map_err(|_| malformed())?;
        let last: u16 = last.parse().map_err(|_| malformed())?;
        if first > last || last >= SLOTS {
            return Err(malformed());
        }
        let index = names
            .iter()
            .position(|known| *known == name)
            .and_then(|index| u8::try_from(index).ok())
            .ok_or_else(|| ConfigError::invalid(variable, format!("no cluster is called {name:?}")))?;
        for slot in first..=last {
            if slots[usize::from(slot)].replace(index).is_some() {
                return Err(ConfigError::invalid(variable, format!("slot {slot} is given twice")));
            }
        }
    }
    slots
        .iter()
        .enumerate()
        .map(|(slot, index)| index.ok_or_else(|| ConfigError::invalid(variable, format!("slot {slot} has no cluster"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_slot() {
        assert_eq!(slot_of(0), 0);
        assert_eq!(slot_of(4096 * 7 + 13), 13);
        assert_eq!(slot_of(-1), 4095);
        assert_eq!(slot_of(i64::MAX), 4095);
    }

    #[test]
    fn the_slot_of_a_key_never_changes() {
        // Rows were placed by these; another answer would lose them.
        assert_eq!(slot_of_key(b"demo@zillion.example"), 2100);
        assert_eq!(slot_of_key(b""), 944);
    }

    #[test]
    fn a_slot_map_covers_every_slot_once() {
        let names = ["main", "second"];
        let slots = parse_slots("S", "0-2047=main, 2048-4094=second,4095=main", &names).unwrap();
        assert_eq!(
            (slots[0], slots[2047], slots[2048], slots[4094], slots[4095]),
            (0, 0, 1, 1, 0)
        );
        for (bad, because) in [
            ("0-4094=main", "slot 4095 has no cluster"),
            ("0-4095=main,7=second", "slot 7 is given twice"),
            ("0-4095=third", "third"),
            ("0-4096=main", "first-last"),
            ("9-2=main", "first-last"),
            ("main", "first-last"),
        ] {
            let message = parse_slots("USERS_SLOTS", bad, &names).unwrap_err().to_string();
            assert!(
                message.starts_with("USERS_SLOTS") && message.contains(because),
                "{bad}: {message}"
            );
        }
    }

    #[test]
    fn variables_alone_move_each_database_to_a_cluster_of_its_own() {
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), "secret").unwrap();
        let password = password.path().to_str().unwrap();
        let in_one_cluster: Vec<(String, String)> = ["INVENTORY", "USERS", "PAYMENTS"]
            .iter()
            .flat_map(|database| {
                [
                    ("HOSTS", "a:1,b:1,c:1"),
                    ("NAME", &database.to_lowercase()),
                    ("USER", "rw"),
                    ("PASSWORD_FILE", password),
                    ("READ_USER", "ro"),
                    ("READ_PASSWORD_FILE", password),
                ]
                .map(|(variable, value)| (format!("{database}_DB_{variable}"), value.to_owned()))
            })
            .collect();
        let mut list: Vec<(&str, &str)> = in_one_cluster
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();

        let hosts = |list: &[(&str, &str)]| {
            let variables = Variables::of_list(list);
            let inventory = ClusterConfig::from_variables("INVENTORY_DB", &variables).unwrap();
            let (users, slots) = Shards::configs_from_variables("USERS_DB", &variables).unwrap();
            let payments = ClusterConfig::from_variables("PAYMENTS_DB", &variables).unwrap();
            let databases = [vec![inventory], users, vec![payments]].concat();
            let each = databases
                .into_iter()
                .map(|config| (config.name, config.database, config.hosts.join(",")));
            (each.collect::<Vec<_>>(), slots)
        };
        let row = |name: &str, database: &str, hosts: &str| (name.to_owned(), database.to_owned(), hosts.to_owned());
        let (together, slots) = hosts(&list);
        assert_eq!(
            together,
            [
                row("inventory", "inventory", "a:1,b:1,c:1"),
                row("users.main", "users", "a:1,b:1,c:1"),
                row("payments", "payments", "a:1,b:1,c:1"),
            ]
        );
        assert!(slots.iter().all(|cluster| *cluster == 0));

        list.extend([
            ("INVENTORY_DB_HOSTS", "d:1"),
            ("PAYMENTS_DB_HOSTS", "e:1,f:1"),
            ("USERS_CLUSTERS", "main=a:1,b:1;second=g:1"),
            ("USERS_SLOTS", "0-2047=main,2048-4095=second"),
        ]);
        let (apart, slots) = hosts(&list);
        assert_eq!(
            apart,
            [
                row("inventory", "inventory", "d:1"),
                row("users.main", "users", "a:1,b:1"),
                row("users.second", "users", "g:1"),
                row("payments", "payments", "e:1,f:1"),
            ]
        );
        assert_eq!((slots[2047], slots[2048]), (0, 1));

        list.push(("USERS_SLOTS", ""));
        let error = Shards::configs_from_variables("USERS_DB", &Variables::of_list(&list)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "USERS_SLOTS is not set",
            "nobody guesses who lives where"
        );
    }

    #[test]
    fn clusters_are_named_once_and_have_hosts() {
        let clusters = parse_clusters("C", "main=a:1,b:2;second=c:3").unwrap();
        assert_eq!(clusters[1], ("second".to_owned(), vec!["c:3".to_owned()]));
        for bad in ["", "main", "main=", "main=a", "main=a:1;main=b:1"] {
            assert!(parse_clusters("C", bad).is_err(), "{bad}");
        }
    }
}
