//! Memory of the kind that a worker has for its flows and frames: anonymous, on transparent huge pages.

use memmap2::{Advice, MmapMut};

/// Zeroed memory that begins where a huge page does. What is never touched takes no room.
pub struct HugePages {
    map: MmapMut,
    start: usize,
    length: usize,
}

impl HugePages {
    /// So many bytes.
    pub fn new(length: usize) -> HugePages {
        let map = MmapMut::map_anon(length + HUGE_PAGE).expect("the system has the memory");
        if let Err(error) = map.advise(Advice::HugePage) {
            eprintln!("figures are without huge pages: {error}");
        }
        let start = map.as_ptr().align_offset(HUGE_PAGE);
        HugePages { map, start, length }
    }

    /// All of them.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.map[self.start..][..self.length]
    }
}

/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;
