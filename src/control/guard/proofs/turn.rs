//! Never two proofs at a time on a node, whatever pool or backend they are for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::super::subject::Subject;

/// Nodes by address, while a proof asks them or waits for that.
static NODES: Mutex<BTreeMap<String, Weak<AsyncMutex<()>>>> = Mutex::new(BTreeMap::new());

/// Waits until no other proof asks these nodes. None does while the result is kept.
pub(super) async fn turn(nodes: [Option<&Subject>; 2]) -> Vec<OwnedMutexGuard<()>> {
    let mut names: Vec<String> = nodes.into_iter().flatten().map(|node| node.address.to_string()).collect();
    // Everybody waits in the same order, so that nobody waits for ever.
    names.sort();
    names.dedup();
    let mut turn = Vec::with_capacity(names.len());
    for name in names {
        turn.push(node(name).lock_owned().await);
    }
    turn
}

fn node(name: String) -> Arc<AsyncMutex<()>> {
    let mut nodes = NODES.lock().unwrap_or_else(PoisonError::into_inner);
    nodes.retain(|_, node| node.strong_count() > 0);
    let known = nodes.get(&name).and_then(Weak::upgrade);
    known.unwrap_or_else(|| {
        let node = Arc::new(AsyncMutex::new(()));
        nodes.insert(name, Arc::downgrade(&node));
        node
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{CheckConfig, CheckKind, TcpCheck},
        net::addresses::Addresses,
    };
    use std::time::Duration;

    fn node(address: &str) -> Subject {
        let ms = Duration::from_millis;
        let check = CheckConfig {
            kind: CheckKind::Tcp(TcpCheck),
            second: None,
            interval: ms(1),
            fast_interval: ms(1),
            timeout: ms(1),
            fresh_login: ms(1),
            proxy_header: None,
        };
        Subject { check, address: address.parse().unwrap(), addresses: Addresses::default() }
    }

    #[tokio::test]
    async fn a_node_has_one_proof_at_a_time_and_two_nodes_are_taken_in_any_order() {
        let (a, b, c) = (node("turn-a:1"), node("turn-b:1"), node("turn-c:1"));
        let first = turn([Some(&b), Some(&a)]).await;
        assert_eq!(first.len(), 2);
        let _other = turn([Some(&c), None]).await;
        let second = tokio::spawn(async move { turn([Some(&a), Some(&a)]).await.len() });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert_eq!(second.await.unwrap(), 1);
    }
}
