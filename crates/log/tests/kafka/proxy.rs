//! A proxy between clients and a broker that loses what it is told to lose.
//!
//! It knows no more of the protocol than where a request begins and its kind: the
//! first two of its bytes. An order is carried out once, on the next request of
//! its kind, or on all of them, and counted.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The kind of the request that ends a transaction.
pub(crate) const END_TRANSACTION: i16 = 26;
/// The kind of the request that adds a group's offsets to a transaction.
pub(crate) const COMMIT_OFFSETS: i16 = 28;

/// What to do with the next request of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Pass it on and cut the connection instead of the reply.
    LoseReply(i16),
    /// Keep it, and cut the connection.
    Hold(i16),
}

/// A proxy on a port of its own.
pub(crate) struct Proxy {
    pub(crate) address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    upstream: Mutex<String>,
    order: Mutex<Option<Order>>,
    stays: AtomicBool,
    held: Mutex<Vec<Vec<u8>>>,
    fired: AtomicUsize,
}

impl Proxy {
    /// Listens; where to connect to is said later.
    pub(crate) fn listen() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = accepting.clone();
                std::thread::spawn(move || pass(&shared, client));
            }
        });
        Proxy { address, shared }
    }

    pub(crate) fn connect_to(&self, upstream: &str) {
        *self.shared.upstream.lock().unwrap() = upstream.into();
    }

    pub(crate) fn order(&self, order: Order) {
        *self.shared.order.lock().unwrap() = Some(order);
    }

    /// As `order`, for all requests of the kind from now on.
    pub(crate) fn order_all(&self, order: Order) {
        self.shared.stays.store(true, Ordering::Release);
        self.order(order);
    }

    /// How many orders have been carried out.
    pub(crate) fn fired(&self) -> usize {
        self.shared.fired.load(Ordering::Acquire)
    }

    /// Sends what was held, as if it had been late, and returns the replies.
    pub(crate) fn release(&self) -> Vec<Vec<u8>> {
        let held = std::mem::take(&mut *self.shared.held.lock().unwrap());
        let send = |frame: Vec<u8>| {
            let mut broker = TcpStream::connect(&*self.shared.upstream.lock().unwrap()).unwrap();
            broker.write_all(&frame).unwrap();
            read_frame(&mut broker).expect("the broker replies")
        };
        held.into_iter().map(send).collect()
    }
}

/// A request or a reply with its length in front.
fn read_frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).ok()?;
    let len = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    frame.resize(4 + len, 0);
    from.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

/// Passes requests and replies on until either side ends.
fn pass(shared: &Shared, mut client: TcpStream) {
    let upstream = shared.upstream.lock().unwrap().clone();
    let Ok(mut broker) = TcpStream::connect(upstream) else {
        return;
    };
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let loses_next = AtomicBool::new(false);
    let (mut to_client, mut from_broker) =
        (client.try_clone().unwrap(), broker.try_clone().unwrap());
    std::thread::scope(|scope| {
        let loses_next = &loses_next;
        scope.spawn(move || {
            while let Some(reply) = read_frame(&mut from_broker) {
                if loses_next.load(Ordering::Acquire) || to_client.write_all(&reply).is_err() {
                    break;
                }
            }
            let _ = to_client.shutdown(Shutdown::Both);
            let _ = from_broker.shutdown(Shutdown::Both);
        });
        while let Some(request) = read_frame(&mut client) {
            let kind = i16::from_be_bytes([request[4], request[5]]);
            match take_order(shared, kind) {
                Some(Order::Hold(_)) => {
                    shared.held.lock().unwrap().push(request);
                    break;
                }
                Some(Order::LoseReply(_)) => loses_next.store(true, Ordering::Release),
                None => {}
            }
            if broker.write_all(&request).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        // A request whose reply is to be lost may still be under way.
        if !loses_next.load(Ordering::Acquire) {
            let _ = broker.shutdown(Shutdown::Both);
        }
    });
}

fn take_order(shared: &Shared, kind: i16) -> Option<Order> {
    let mut order = shared.order.lock().unwrap();
    let is_due = |order: &mut Order| match *order {
        Order::LoseReply(wanted) | Order::Hold(wanted) => wanted == kind,
    };
    let taken = if shared.stays.load(Ordering::Acquire) {
        order.filter(|order| is_due(&mut order.clone()))
    } else {
        order.take_if(is_due)
    };
    if taken.is_some() {
        shared.fired.fetch_add(1, Ordering::AcqRel);
    }
    taken
}
