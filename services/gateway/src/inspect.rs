//! What an operator asks: how far an entry of a log has come on the connections here.

use std::{collections::HashMap, sync::Arc};

use futures_util::StreamExt;
use natter_bus::{HeaderMap, Subscriber};
use natter_protocol::call::{ChannelConnection, Delivered, GatewayConnections, GetConnections};

use crate::{Gateway, delivery::Delivery, hub::Look, peer::Peer};

/// Answers until the process stops and the last connection has gone.
pub async fn answer(gateway: Arc<Gateway>, mut asked: Subscriber) {
    let answering = async {
        while let Some(request) = asked.next().await {
            let Ok(call) = serde_json::from_slice(&request.payload) else {
                tracing::warn!("a question for connections cannot be read");
                continue;
            };
            let connections = connections(&gateway, &call).await;
            // Ids, times and words: encoding cannot fail.
            let payload = serde_json::to_vec(&connections).unwrap_or_default();
            let bus = &gateway.bus;
            bus.answer(&request, HeaderMap::new(), payload.into()).await;
        }
    };
    tokio::select! {
        () = answering => {}
        () = gateway.registry.drained(&gateway.process.shutdown) => {}
    }
}

async fn connections(gateway: &Gateway, call: &GetConnections) -> GatewayConnections {
    let look = gateway.hub.look(call.channel).await.unwrap_or(Look {
        head: 0,
        members: HashMap::new(),
    });
    let users = call.users.iter();
    let peers = users.flat_map(|user| gateway.registry.of(*user));
    let connections = peers.map(|peer| ChannelConnection {
        user: peer.user,
        opened_at: peer.opened_at,
        state: state(&peer, call, &look),
    });
    GatewayConnections {
        gateway: gateway.bus.own_address(),
        connections: connections.collect(),
    }
}

fn state(peer: &Peer, call: &GetConnections, look: &Look) -> Delivered {
    let waits = |delivery: &Delivery| match delivery {
        Delivery::Log(log) => log.channel == call.channel && log.seq == call.seq,
        _ => false,
    };
    match look.members.get(&peer.id) {
        None => Delivered::NotJoined,
        Some(false) => Delivered::NotResumed,
        Some(true) if look.head < call.seq => Delivered::NotCome,
        Some(true) if peer.deliveries.has(waits) => Delivered::Queued,
        Some(true) => Delivered::Written,
    }
}
