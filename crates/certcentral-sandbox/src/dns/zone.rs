//! One zone in memory: what it answers (RFC 1034 section 4.3.2, wildcards by RFC 4592) and how an update changes it
//! (RFC 2136 section 3). Pure: no sockets, no clock. Delegations are not made; everything below the apex is ours.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        DNSClass, LowerName, Name, RData, Record, RecordData, RecordType,
        rdata::{A, AAAA, NS, SOA},
    },
};

/// How long a negative answer may be kept, in seconds; short, so that nobody waits for one to end.
const NEGATIVE_TTL: u32 = 5;
const APEX_TTL: u32 = 60;

#[derive(Clone, PartialEq)]
struct Set {
    ttl: u32,
    data: Vec<RData>,
}

type Node = BTreeMap<RecordType, Set>;
/// In canonical order, so that a name's descendants follow it.
type Nodes = BTreeMap<LowerName, Node>;

pub(super) struct Zone {
    origin: Name,
    nodes: Nodes,
    start: Nodes,
}

/// What a zone says to a question.
pub(super) enum Outcome {
    Records(Vec<Record>),
    /// A CNAME and its target.
    Alias(Box<Record>, Name),
    NoData,
    NoName,
}

enum Found<'z> {
    Node(&'z Node),
    /// The name exists only because others are below it.
    Between,
    Nothing,
}

impl Zone {
    pub(super) fn new(origin: &Name, server: IpAddr, web: Option<Ipv4Addr>) -> Self {
        let at = |label: &str| origin.prepend_label(label).unwrap_or_else(|_| origin.clone());
        let (ns, mail) = (at("ns1"), at("hostmaster"));
        let mut nodes = Nodes::new();
        let mut put = |name: &Name, data: RData| {
            let set = Set { ttl: APEX_TTL, data: vec![data.clone()] };
            nodes.entry(LowerName::new(name)).or_default().insert(data.record_type(), set);
        };
        put(origin, RData::SOA(SOA::new(ns.clone(), mail, 1, 3600, 600, 86400, NEGATIVE_TTL)));
        put(origin, RData::NS(NS(ns.clone())));
        put(
            &ns,
            match server {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            },
        );
        if let Some(web) = web {
            put(origin, RData::A(A(web)));
            put(&at("*"), RData::A(A(web)));
        }
        Self { origin: origin.clone(), start: nodes.clone(), nodes }
    }

    pub(super) fn soa(&self) -> Record {
        let soa = self.apex().get(&RecordType::SOA).map(|set| set.data[0].clone());
        let soa = soa.expect("an update never removes the SOA");
        Record::from_rdata(self.origin.clone(), NEGATIVE_TTL, soa)
    }

    fn apex(&self) -> &Node {
        self.nodes.get(&LowerName::new(&self.origin)).expect("an update never empties the apex")
    }

    /// Every record but the SOA that the zone did not start with.
    pub(super) fn added(&self) -> Vec<String> {
        let mut added = Vec::new();
        for (name, node) in &self.nodes {
            for (kind, set) in node.iter().filter(|(kind, _)| **kind != RecordType::SOA) {
                let old = self.start.get(name).and_then(|node| node.get(kind));
                let new = set.data.iter().filter(|data| !old.is_some_and(|old| old.data.contains(data)));
                added.extend(new.map(|data| Record::from_rdata(Name::from(name), set.ttl, data.clone()).to_string()));
            }
        }
        added
    }

    pub(super) fn answer(&self, asked: &Name, kind: RecordType) -> Outcome {
        let node = match self.find(&LowerName::new(asked)) {
            Found::Node(node) => node,
            Found::Between => return Outcome::NoData,
            Found::Nothing => return Outcome::NoName,
        };
        let records = |set: &Set| -> Vec<Record> {
            set.data.iter().map(|data| Record::from_rdata(asked.clone(), set.ttl, data.clone())).collect()
        };
        if kind == RecordType::ANY {
            return Outcome::Records(node.values().flat_map(records).collect());
        }
        if let Some(set) = node.get(&kind) {
            return Outcome::Records(records(set));
        }
        match node.get(&RecordType::CNAME).map(|set| (set.ttl, &set.data[0])) {
            Some((ttl, data @ RData::CNAME(target))) => {
                Outcome::Alias(Box::new(Record::from_rdata(asked.clone(), ttl, data.clone())), target.0.clone())
            }
            _ => Outcome::NoData,
        }
    }

    /// The node that speaks for a name: its own, or that of the wildcard below its closest encloser.
    fn find(&self, name: &LowerName) -> Found<'_> {
        if let Some(node) = self.nodes.get(name) {
            return Found::Node(node);
        }
        if self.has_descendants(name) {
            return Found::Between;
        }
        let mut encloser = name.base_name();
        while !self.nodes.contains_key(&encloser) && !self.has_descendants(&encloser) {
            encloser = encloser.base_name();
        }
        let wildcard = Name::from(&encloser).prepend_label("*").ok();
        wildcard.and_then(|name| self.nodes.get(&LowerName::new(&name))).map_or(Found::Nothing, Found::Node)
    }

    fn has_descendants(&self, name: &LowerName) -> bool {
        let mut after = self.nodes.range((std::ops::Bound::Excluded(name), std::ops::Bound::Unbounded));
        after.next().is_some_and(|(next, _)| name.zone_of(next))
    }

    /// All of it or nothing (RFC 2136 section 3): prerequisites, then a scan of the updates, then the updates.
    pub(super) fn update(&mut self, prerequisites: &[Record], updates: &[Record]) -> Result<(), ResponseCode> {
        self.check(prerequisites)?;
        for update in updates {
            self.scan(update)?;
        }
        let mut changed = false;
        for update in updates {
            changed |= self.apply(update);
        }
        if changed {
            self.grow_serial();
        }
        Ok(())
    }

    fn set(&self, name: &Name, kind: RecordType) -> Option<&Set> {
        self.nodes.get(&LowerName::new(name))?.get(&kind)
    }

    /// RFC 2136 section 3.2.
    fn check(&self, prerequisites: &[Record]) -> Result<(), ResponseCode> {
        let mut exact: BTreeMap<(LowerName, RecordType), Vec<&RData>> = BTreeMap::new();
        for one in prerequisites {
            let kind = one.record_type();
            if one.ttl != 0 {
                return Err(ResponseCode::FormErr);
            }
            if !self.origin.zone_of(&one.name) {
                return Err(ResponseCode::NotZone);
            }
            let in_use = self.nodes.contains_key(&LowerName::new(&one.name));
            let exists = self.set(&one.name, kind).is_some();
            match (one.dns_class, kind) {
                (DNSClass::ANY | DNSClass::NONE, _) if !one.data.is_update() => return Err(ResponseCode::FormErr),
                (DNSClass::ANY, RecordType::ANY) if !in_use => return Err(ResponseCode::NXDomain),
                (DNSClass::NONE, RecordType::ANY) if in_use => return Err(ResponseCode::YXDomain),
                (DNSClass::ANY | DNSClass::NONE, RecordType::ANY) => {}
                (DNSClass::ANY, _) if !exists => return Err(ResponseCode::NXRRSet),
                (DNSClass::NONE, _) if exists => return Err(ResponseCode::YXRRSet),
                (DNSClass::ANY | DNSClass::NONE, _) => {}
                (DNSClass::IN, _) => exact.entry((LowerName::new(&one.name), kind)).or_default().push(&one.data),
                _ => return Err(ResponseCode::FormErr),
            }
        }
        for ((name, kind), wanted) in exact {
            let have = self.nodes.get(&name).and_then(|node| node.get(&kind)).map_or(&[][..], |set| &set.data);
            if !wanted.iter().all(|data| have.contains(data)) || !have.iter().all(|data| wanted.contains(&data)) {
                return Err(ResponseCode::NXRRSet);
            }
        }
        Ok(())
    }

    /// RFC 2136 section 3.4.1.
    fn scan(&self, update: &Record) -> Result<(), ResponseCode> {
        let kind = update.record_type();
        let meta = matches!(kind, RecordType::ANY | RecordType::AXFR | RecordType::IXFR | RecordType::OPT);
        if !self.origin.zone_of(&update.name) {
            return Err(ResponseCode::NotZone);
        }
        let legal = match update.dns_class {
            DNSClass::IN => !meta && !update.data.is_update(),
            DNSClass::ANY => update.ttl == 0 && update.data.is_update() && (!meta || kind == RecordType::ANY),
            DNSClass::NONE => update.ttl == 0 && !meta,
            _ => false,
        };
        if legal { Ok(()) } else { Err(ResponseCode::FormErr) }
    }

    /// RFC 2136 section 3.4.2; says whether anything changed.
    fn apply(&mut self, update: &Record) -> bool {
        let (name, kind) = (LowerName::new(&update.name), update.record_type());
        let apex = self.origin.eq_ignore_root(&update.name);
        let kept = |kind: RecordType| apex && matches!(kind, RecordType::SOA | RecordType::NS);
        match update.dns_class {
            DNSClass::IN => return self.add(name, apex, update),
            DNSClass::ANY => {
                let Some(node) = self.nodes.get_mut(&name) else { return false };
                let before = node.len();
                node.retain(|each, _| (kind != RecordType::ANY && *each != kind) || kept(*each));
                if node.len() == before {
                    return false;
                }
            }
            _ => {
                let Some(set) = self.nodes.get_mut(&name).and_then(|node| node.get_mut(&kind)) else { return false };
                let last = set.data.len() == 1;
                if (apex && kind == RecordType::SOA) || (kept(kind) && last) || !set.data.contains(&update.data) {
                    return false;
                }
                set.data.retain(|data| *data != update.data);
            }
        }
        if let Some(node) = self.nodes.get_mut(&name) {
            node.retain(|_, set| !set.data.is_empty());
            if node.is_empty() {
                self.nodes.remove(&name);
            }
        }
        true
    }

    fn add(&mut self, name: LowerName, apex: bool, update: &Record) -> bool {
        let kind = update.record_type();
        let node = self.nodes.get(&name);
        // A CNAME stands alone; the later comer is ignored, whichever it is (RFC 2136 section 3.4.2.2).
        let crowded = node.is_some_and(|node| match kind {
            RecordType::CNAME => node.keys().any(|other| *other != RecordType::CNAME),
            _ => node.contains_key(&RecordType::CNAME),
        });
        if crowded {
            return false;
        }
        if let RData::SOA(new) = &update.data {
            let newer = apex && matches!(self.soa().data, RData::SOA(old) if newer(new.serial, old.serial));
            if !newer {
                return false;
            }
        }
        let set = self.nodes.entry(name).or_default().entry(kind).or_insert(Set { ttl: update.ttl, data: Vec::new() });
        let before = set.clone();
        set.ttl = update.ttl;
        if matches!(kind, RecordType::CNAME | RecordType::SOA) {
            set.data.clear();
        }
        // An equal record is replaced: names may differ in case.
        match set.data.iter_mut().find(|data| **data == update.data) {
            Some(old) => old.clone_from(&update.data),
            None => set.data.push(update.data.clone()),
        }
        *set != before
    }

    fn grow_serial(&mut self) {
        let apex = self.nodes.get_mut(&LowerName::new(&self.origin));
        if let Some(RData::SOA(soa)) = apex.and_then(|node| node.get_mut(&RecordType::SOA)).map(|set| &mut set.data[0])
        {
            soa.increment_serial();
        }
    }
}

/// Serial number arithmetic (RFC 1982).
fn newer(new: u32, old: u32) -> bool {
    new != old && new.wrapping_sub(old) < 1 << 31
}
