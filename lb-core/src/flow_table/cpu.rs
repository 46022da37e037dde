//! The processor's own instructions: the one place with `unsafe` in this crate. Each has its portable twin.

use super::{BUCKET_ENTRIES, Bucket};

/// Asks the cache for the line of `value`: a hint.
#[inline(always)]
#[allow(unsafe_code)] // The intrinsic takes a raw pointer; there is no safe form of it.
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes no memory, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(std::ptr::from_ref(value).cast(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// One bit for each entry of a bucket with this tag.
#[inline(always)]
#[allow(unsafe_code)] // Vector instructions are unsafe to call wherever the processor might not have them.
pub(super) fn equal_tags(bucket: &Bucket, tag: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2.
    unsafe {
        equal_tags_sse2(bucket, tag)
    }
    #[cfg(not(target_arch = "x86_64"))]
    equal_tags_portable(bucket, tag)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn equal_tags_sse2(bucket: &Bucket, tag: u16) -> u32 {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16};
    let Some(tags) = bytemuck::bytes_of(bucket).first_chunk::<32>() else { return 0 };
    let [low, high]: [__m128i; 2] = bytemuck::cast(*tags);
    let tag = _mm_set1_epi16(tag as i16);
    let equal = _mm_packs_epi16(_mm_cmpeq_epi16(low, tag), _mm_cmpeq_epi16(high, tag));
    _mm_movemask_epi8(equal) as u32 & ((1 << BUCKET_ENTRIES) - 1)
}

#[cfg(any(not(target_arch = "x86_64"), test))]
fn equal_tags_portable(bucket: &Bucket, tag: u16) -> u32 {
    let mut bits = 0;
    for (at, &candidate) in bucket.tags.iter().enumerate() {
        bits |= u32::from(candidate == tag) << at;
    }
    bits
}
