//! Places for those who read the feed: a number of them, and few for one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use super::problem::Problem;

/// Readers at the same time.
const READERS_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Places {
    taken: Mutex<HashMap<IpAddr, usize>>,
    per_address: usize,
}

/// A place that is free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// With 0 for `per_address` one may have all.
    pub(super) fn new(per_address: u32) -> Arc<Self> {
        let per_address = usize::try_from(per_address).ok().filter(|places| *places > 0).unwrap_or(READERS_MAX);
        Arc::new(Self { taken: Mutex::default(), per_address })
    }

    /// A place for a reader from an address.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Problem> {
        let address = of_one_customer(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= READERS_MAX {
            return Err(Problem::unavailable(format!("{READERS_MAX} readers are connected, try again later")));
        }
        let own = taken.entry(address).or_default();
        if *own >= self.per_address {
            let help = "close one, or read more topics by one connection";
            return Err(Problem::unavailable(format!("{} readers are connected from your address: {help}", self.per_address)));
        }
        *own += 1;
        Ok(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

/// A customer of an internet provider has a whole /64 of IPv6.
fn of_one_customer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}
