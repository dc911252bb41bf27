//! Carriers: who brings a client, or an edge, onto the network.
//!
//! The taxonomy is coarse on purpose: it separates the networks between which traffic suffers, and
//! nothing finer. A databases' many spellings of an organisation ("CHINANET Guangdong province
//! network", "China Telecom (Group)") come down to one of nine names here, by autonomous system
//! number where that is known and by words of the name otherwise.
//!
//! Invariant: every carrier has exactly one name, and [`Carrier::parse`] reads back what
//! [`Carrier::as_str`] printed.

use std::fmt;

/// A carrier, coarse enough that each is worth its own edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carrier {
    /// China Telecom (CHINANET, CN2).
    Telecom,
    /// China Unicom (China169, the former Netcom).
    Unicom,
    /// China Mobile (CMNET) and Tietong, which it owns.
    Mobile,
    /// CERNET, the education and research network.
    Cernet,
    /// CSTNET, the science and technology network.
    Cstnet,
    /// Dr. Peng and Great Wall Broadband.
    Drpeng,
    /// A cloud in the country: reached over several carriers at once.
    Cloud,
    /// Any network outside the mainland.
    Overseas,
    /// Nothing is known.
    #[default]
    Unknown,
}

impl Carrier {
    /// Every carrier, in the order in which documents and tables list them.
    pub const ALL: [Self; 9] = [
        Self::Telecom,
        Self::Unicom,
        Self::Mobile,
        Self::Cernet,
        Self::Cstnet,
        Self::Drpeng,
        Self::Cloud,
        Self::Overseas,
        Self::Unknown,
    ];

    /// The name used in configuration, reports, databases, metrics and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Telecom => "telecom",
            Self::Unicom => "unicom",
            Self::Mobile => "mobile",
            Self::Cernet => "cernet",
            Self::Cstnet => "cstnet",
            Self::Drpeng => "drpeng",
            Self::Cloud => "cloud",
            Self::Overseas => "overseas",
            Self::Unknown => "unknown",
        }
    }

    /// Reads a name as [`as_str`](Self::as_str) prints it; `None` for anything else.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|carrier| carrier.as_str() == name)
    }

    /// The carrier that a published list of networks is about: by its own name, or by the names
    /// that lists made from BGP use.
    pub fn of_list(name: &str) -> Option<Self> {
        let named = LIST_NAMES.iter().find(|(list, _)| *list == name).map(|(_, carrier)| *carrier);
        named.or_else(|| Self::parse(name)).filter(|carrier| *carrier != Self::Unknown)
    }

    /// The carrier of an autonomous system, for the systems that carry most of the country's
    /// clients. Numbers that are missing here are found by [`of_organisation`](Self::of_organisation).
    pub fn of_autonomous_system(number: u32) -> Option<Self> {
        let at = AUTONOMOUS_SYSTEMS.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(AUTONOMOUS_SYSTEMS[at].1)
    }

    /// The carrier that an organisation's name gives away, in English or Chinese. The first rule
    /// that matches wins: clouds and research networks come before the three large carriers, whose
    /// names appear inside others ("Tencent cloud on China Telecom").
    pub fn of_organisation(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        NAME_RULES.iter().find(|(word, _)| name.contains(word)).map(|(_, carrier)| *carrier)
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Several carriers at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Carriers(u16);

impl Carriers {
    /// With one more.
    #[must_use]
    pub const fn with(self, carrier: Carrier) -> Self {
        Self(self.0 | 1 << carrier as u16)
    }

    /// With one less.
    #[must_use]
    pub const fn without(self, carrier: Carrier) -> Self {
        Self(self.0 & !(1 << carrier as u16))
    }

    /// Whether it is among them.
    pub const fn contains(self, carrier: Carrier) -> bool {
        self.0 & 1 << carrier as u16 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them, in the order of [`Carrier::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Carrier> {
        Carrier::ALL.into_iter().filter(move |carrier| self.contains(*carrier))
    }
}

impl FromIterator<Carrier> for Carriers {
    fn from_iter<I: IntoIterator<Item = Carrier>>(carriers: I) -> Self {
        carriers.into_iter().fold(Self::default(), Self::with)
    }
}

/// Their names, separated by spaces.
impl fmt::Display for Carriers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Carrier::as_str).collect();
        f.pad(&names.join(" "))
    }
}

/// The names that lists of networks go by where they are not ours.
const LIST_NAMES: &[(&str, Carrier)] =
    &[("chinanet", Carrier::Telecom), ("cmcc", Carrier::Mobile), ("tietong", Carrier::Mobile)];

/// Words of organisations' names, lower case, first match wins.
const NAME_RULES: &[(&str, Carrier)] = &[
    ("alibaba", Carrier::Cloud),
    ("aliyun", Carrier::Cloud),
    ("tencent", Carrier::Cloud),
    ("huawei cloud", Carrier::Cloud),
    ("baidu", Carrier::Cloud),
    ("kingsoft", Carrier::Cloud),
    ("ucloud", Carrier::Cloud),
    ("volcano engine", Carrier::Cloud),
    ("bytedance", Carrier::Cloud),
    ("阿里", Carrier::Cloud),
    ("腾讯", Carrier::Cloud),
    ("华为云", Carrier::Cloud),
    ("education and research", Carrier::Cernet),
    ("cernet", Carrier::Cernet),
    ("教育网", Carrier::Cernet),
    ("science and technology network", Carrier::Cstnet),
    ("cstnet", Carrier::Cstnet),
    ("科技网", Carrier::Cstnet),
    ("dr. peng", Carrier::Drpeng),
    ("drpeng", Carrier::Drpeng),
    ("dr.peng", Carrier::Drpeng),
    ("great wall broadband", Carrier::Drpeng),
    ("dian-xin-tong", Carrier::Drpeng),
    ("鹏博士", Carrier::Drpeng),
    ("长城宽带", Carrier::Drpeng),
    ("tietong", Carrier::Mobile),
    ("铁通", Carrier::Mobile),
    ("china mobile", Carrier::Mobile),
    ("cmnet", Carrier::Mobile),
    ("cmcc", Carrier::Mobile),
    ("移动", Carrier::Mobile),
    ("unicom", Carrier::Unicom),
    ("china169", Carrier::Unicom),
    ("china netcom", Carrier::Unicom),
    ("cncgroup", Carrier::Unicom),
    ("cnc group", Carrier::Unicom),
    ("联通", Carrier::Unicom),
    ("网通", Carrier::Unicom),
    ("chinanet", Carrier::Telecom),
    ("china telecom", Carrier::Telecom),
    ("chinatelecom", Carrier::Telecom),
    ("电信", Carrier::Telecom),
];

/// The best known systems of each carrier, ascending for the binary search.
const AUTONOMOUS_SYSTEMS: &[(u32, Carrier)] = &[
    (4134, Carrier::Telecom),
    (4538, Carrier::Cernet),
    (4808, Carrier::Unicom),
    (4809, Carrier::Telecom),
    (4811, Carrier::Telecom),
    (4812, Carrier::Telecom),
    (4816, Carrier::Telecom),
    (4837, Carrier::Unicom),
    (7497, Carrier::Cstnet),
    (9394, Carrier::Mobile),
    (9808, Carrier::Mobile),
    (9929, Carrier::Unicom),
    (10099, Carrier::Unicom),
    (17430, Carrier::Drpeng),
    (17621, Carrier::Unicom),
    (17622, Carrier::Unicom),
    (17623, Carrier::Unicom),
    (17638, Carrier::Telecom),
    (17816, Carrier::Unicom),
    (17964, Carrier::Drpeng),
    (23650, Carrier::Telecom),
    (23724, Carrier::Telecom),
    (23910, Carrier::Cernet),
    (23911, Carrier::Cernet),
    (24400, Carrier::Mobile),
    (24444, Carrier::Mobile),
    (24445, Carrier::Mobile),
    (24547, Carrier::Mobile),
    (37963, Carrier::Cloud),
    (38019, Carrier::Mobile),
    (38283, Carrier::Telecom),
    (38365, Carrier::Cloud),
    (45090, Carrier::Cloud),
    (45102, Carrier::Cloud),
    (55967, Carrier::Cloud),
    (55990, Carrier::Cloud),
    (56040, Carrier::Mobile),
    (56041, Carrier::Mobile),
    (56042, Carrier::Mobile),
    (56044, Carrier::Mobile),
    (56046, Carrier::Mobile),
    (56047, Carrier::Mobile),
    (56048, Carrier::Mobile),
    (58453, Carrier::Mobile),
    (58461, Carrier::Telecom),
    (58466, Carrier::Telecom),
    (58563, Carrier::Telecom),
    (58807, Carrier::Mobile),
    (132_203, Carrier::Cloud),
    (134_542, Carrier::Unicom),
    (134_543, Carrier::Unicom),
    (136_958, Carrier::Unicom),
    (136_959, Carrier::Unicom),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_each_carrier_once() {
        let set: Carriers =
            [Carrier::Unicom, Carrier::Telecom, Carrier::Unicom].into_iter().collect();
        assert_eq!(set.to_string(), "telecom unicom");
        assert!(set.contains(Carrier::Unicom) && !set.contains(Carrier::Mobile));
        assert_eq!(set.without(Carrier::Unicom).to_string(), "telecom");
        assert!(set.without(Carrier::Unicom).without(Carrier::Telecom).is_empty());
    }

    #[test]
    fn lists_go_by_two_names() {
        assert_eq!(Carrier::of_list("chinanet"), Some(Carrier::Telecom));
        assert_eq!(Carrier::of_list("telecom"), Some(Carrier::Telecom));
        assert_eq!(Carrier::of_list("china"), None);
        assert_eq!(Carrier::of_list("unknown"), None);
    }

    #[test]
    fn every_name_reads_back() {
        for carrier in Carrier::ALL {
            assert_eq!(Carrier::parse(carrier.as_str()), Some(carrier));
        }
        assert_eq!(Carrier::parse("Telecom"), None);
        assert_eq!(Carrier::parse(""), None);
    }

    #[test]
    fn systems_are_sorted_and_unique() {
        assert!(AUTONOMOUS_SYSTEMS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(Carrier::of_autonomous_system(4134), Some(Carrier::Telecom));
        assert_eq!(Carrier::of_autonomous_system(136_959), Some(Carrier::Unicom));
        assert_eq!(Carrier::of_autonomous_system(1), None);
    }

    #[test]
    fn organisations_by_their_words() {
        let cases = [
            ("CHINANET Guangdong province network", Some(Carrier::Telecom)),
            ("No.31,Jin-rong Street", None),
            ("CHINA UNICOM China169 Backbone", Some(Carrier::Unicom)),
            ("China Mobile Communications Group Co., Ltd.", Some(Carrier::Mobile)),
            ("China TieTong Telecommunications Corporation", Some(Carrier::Mobile)),
            ("China Education and Research Network Center", Some(Carrier::Cernet)),
            ("Hangzhou Alibaba Advertising Co.,Ltd.", Some(Carrier::Cloud)),
            ("中国电信", Some(Carrier::Telecom)),
            ("鹏博士长城宽带", Some(Carrier::Drpeng)),
            ("Telstra Internet", None),
            ("", None),
        ];
        for (name, carrier) in cases {
            assert_eq!(Carrier::of_organisation(name), carrier, "{name}");
        }
    }

    #[test]
    fn rules_are_lower_case_as_the_comparison_needs() {
        assert!(NAME_RULES.iter().all(|(word, _)| *word == word.to_lowercase()));
    }
}
