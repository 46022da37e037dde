//! What a device and the stack above it do to frames on their own (offloads), as ETHTOOL_GFEATURES lists it.

use super::Ethtool;

/// An offload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The kernel's name for it, such as `rx-lro`.
    pub name: String,
    /// Whether it is done.
    pub is_on: bool,
    /// Whether nobody can change that.
    pub is_fixed: bool,
}

impl Ethtool {
    /// Every offload that the kernel knows of. `None` when the driver does not say.
    pub(crate) fn features(&self) -> Option<Vec<Feature>> {
        let mut info = [ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0, 0];
        self.ask(&mut info).ok()?;
        let count = info[COUNT_AT].min(FEATURES);
        let mut names = vec![0_u32; NAMES_HEAD_WORDS + count as usize * NAME_WORDS];
        names[..NAMES_HEAD_WORDS].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count]);
        self.ask(names.as_mut_slice()).ok()?;
        let blocks = count.div_ceil(u32::BITS);
        let mut states = vec![0_u32; STATES_HEAD_WORDS + blocks as usize * BLOCK_WORDS];
        states[..STATES_HEAD_WORDS].copy_from_slice(&[ETHTOOL_GFEATURES, blocks]);
        self.ask(states.as_mut_slice()).ok()?;
        Some(parse(&names[NAMES_HEAD_WORDS..], &states[STATES_HEAD_WORDS..]))
    }
}

/// Reads names of 32 bytes each, and blocks of four masks for 32 of them: available, requested, active, never changed.
fn parse(names: &[u32], blocks: &[u32]) -> Vec<Feature> {
    let state = |number: usize| {
        let block = blocks.chunks_exact(BLOCK_WORDS).nth(number / u32::BITS as usize)?;
        let bit = 1 << (number % u32::BITS as usize);
        let [available, _, active, never_changed] = block else { return None };
        Some((active & bit != 0, available & bit == 0 || never_changed & bit != 0))
    };
    let feature = |(number, name): (usize, &[u32])| {
        let bytes: Vec<u8> = name.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let (is_on, is_fixed) = state(number)?;
        let name = crate::sys::text(&bytes);
        (!name.is_empty()).then_some(Feature { name, is_on, is_fixed })
    };
    names.chunks_exact(NAME_WORDS).enumerate().filter_map(feature).collect()
}

const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
/// The set of strings that names offloads.
const ETH_SS_FEATURES: u32 = 4;
/// Where the size of the only set that was asked for stands in `struct ethtool_sset_info`, in 32-bit words.
const COUNT_AT: usize = 4;
/// Most offloads that are read; Linux 6.18 has 67.
const FEATURES: u32 = 512;
/// 32-bit words of `struct ethtool_gstrings` in front of the names.
const NAMES_HEAD_WORDS: usize = 3;
/// ETH_GSTRING_LEN in 32-bit words.
const NAME_WORDS: usize = 8;
/// 32-bit words of `struct ethtool_gfeatures` in front of the blocks.
const STATES_HEAD_WORDS: usize = 2;
/// 32-bit words of `struct ethtool_get_features_block`.
const BLOCK_WORDS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Vec<u32> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(4 * NAME_WORDS, 0);
        bytes.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
    }

    #[test]
    fn names_and_masks_are_joined() {
        let mut names = [name("rx-lro"), name("rx-gro"), name("")].concat();
        names.extend((3..33).flat_map(|_| name("x")));
        names.extend(name("rx-gro-hw"));
        let blocks = [0b011, 0, 0b101, 0, 0b10, 0, 0b10, 0b10];
        let features = parse(&names, &blocks);
        let feature = |name: &str, is_on, is_fixed| Feature { name: name.into(), is_on, is_fixed };
        assert_eq!(features[0], feature("rx-lro", true, false));
        assert_eq!(features[1], feature("rx-gro", false, false));
        assert_eq!(
            features[2],
            feature("x", false, true),
            "what is not available is fixed; a bit without name is none"
        );
        assert_eq!(*features.last().unwrap(), feature("rx-gro-hw", true, true));
        assert_eq!(parse(&names, &blocks[..6]).len(), 31, "no mask, no state");
        assert!(parse(&names[..5], &blocks).is_empty(), "half a name");
    }

    #[test]
    fn loopback_tells_its_offloads() {
        let features = Ethtool::open("lo").unwrap().features().unwrap();
        assert!(features.iter().any(|feature| feature.name == "rx-gro"), "{features:?}");
    }
}
