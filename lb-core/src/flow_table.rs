//! stub
/// Memory of a flow table: zeroed bytes, 64-byte aligned, from wherever the caller has them (anonymous, huge pages, memfd).
pub struct FlowMemory<'m> { bytes: &'m mut [u8], capacity: u32 }
impl<'m> FlowMemory<'m> {
    /// Bytes that a table of `capacity` flows needs.
    pub const fn bytes_for(capacity: u32) -> usize { capacity as usize * 96 }
    /// Takes the memory: at least `bytes_for(capacity)` bytes, all zero, aligned to 64 bytes.
    pub fn new(bytes: &'m mut [u8], capacity: u32) -> Option<FlowMemory<'m>> { (bytes.len() >= Self::bytes_for(capacity)).then_some(FlowMemory { bytes, capacity }) }
    /// capacity
    pub fn capacity(&self) -> u32 { let _ = self.bytes.len(); self.capacity }
}
