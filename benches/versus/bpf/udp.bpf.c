// SPDX-License-Identifier: Apache-2.0
//
// The two ends of a load of small UDP frames: `generate` fills frames and sends them by an interface, run by BPF_PROG_TEST_RUN on live
// frames; `count` counts what arrives at a target, and drops it. benches/versus/udp_programs.rs is their other half.
//
// One file without includes: lb-io/bpf/build.sh makes udp.bpf.o of it, which is committed.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// What the kernel gives a program and takes from it (include/uapi/linux/bpf.h).
struct xdp_md {
	u32 data;
	u32 data_end;
};

struct __sk_buff {
	u32 unused[19];
	u32 data;
	u32 data_end;
};

enum xdp_action { XDP_ABORTED, XDP_DROP };
enum tcx_action { TCX_NEXT = -1, TCX_DROP = 2 };
enum { BPF_MAP_TYPE_ARRAY = 2 };

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static long (*const bpf_redirect)(u32 interface, u64 flags) = (void *)23;

// A map, as udp_programs.rs reads it from the section `maps`.
struct map_definition {
	u32 type;
	u32 key_bytes;
	u32 value_bytes;
	u32 entries;
};

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline))
#define SWAP16(value) __builtin_bswap16(value)

// The first bytes of every frame: Ethernet, IPv4, UDP and some of its data. What differs between flows is filled in.
enum { TEMPLATE_WORDS = 6, IPV4_CHECKSUM = 24, SOURCE_LOW = 28, SOURCE_PORT = 34, UDP_CHECKSUM = 40 };

struct settings {
	u64 template[TEMPLATE_WORDS];
	// Nanoseconds between two frames; 0 is as fast as can be.
	u64 interval_ns;
	u32 flows;
	u32 interface;
	// Sums over IPv4 header, and over UDP with its pseudo-header, without what is filled in.
	u32 ipv4_sum;
	u32 udp_sum;
	// The lower half of the first flow's source address.
	u32 source_low;
	u32 pad;
};

struct progress {
	u64 flow;
	u64 due_ns;
};

// One counter for each CPU, in cache lines of their own.
enum { CPUS = 64 };
struct counters {
	struct {
		u64 frames;
		u64 pad[7];
	} by_cpu[CPUS];
};

SECTION("maps") struct map_definition settings = { BPF_MAP_TYPE_ARRAY, 4, sizeof(struct settings), 1 };
SECTION("maps") struct map_definition progress = { BPF_MAP_TYPE_ARRAY, 4, sizeof(struct progress), 1 };
SECTION("maps") struct map_definition counters = { BPF_MAP_TYPE_ARRAY, 4, sizeof(struct counters), 1 };

INLINE u16 complement(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

// Flow by flow over ports, then over source addresses.
enum { FIRST_PORT = 1024, PORTS = 50000 };

INLINE void fill(u8 *frame, const struct settings *set, u64 flow)
{
	for (int word = 0; word < TEMPLATE_WORDS; word++)
		((u64 *)frame)[word] = set->template[word];
	u16 source = set->source_low + flow / PORTS;
	u16 port = FIRST_PORT + flow % PORTS;
	u16 udp_checksum = complement(set->udp_sum + source + port);
	*(u16 *)(frame + IPV4_CHECKSUM) = SWAP16(complement(set->ipv4_sum + source));
	*(u16 *)(frame + SOURCE_LOW) = SWAP16(source);
	*(u16 *)(frame + SOURCE_PORT) = SWAP16(port);
	// 0 would say that there is none (RFC 768).
	*(u16 *)(frame + UDP_CHECKSUM) = udp_checksum ? SWAP16(udp_checksum) : 0xffff;
}

// Whether the next frame's time has come. One that is later than this much does not make the next ones come sooner.
enum { LATEST_NS = 1000000 };

INLINE int is_due(struct progress *at, u64 interval_ns)
{
	u64 now = bpf_ktime_get_ns();
	if (now < at->due_ns)
		return 0;
	at->due_ns = (now - at->due_ns > LATEST_NS ? now : at->due_ns) + interval_ns;
	return 1;
}

SECTION("xdp") int generate(struct xdp_md *context)
{
	u8 *frame = (u8 *)(long)context->data, *end = (u8 *)(long)context->data_end;
	u32 only = 0;
	const struct settings *set = bpf_map_lookup_elem(&settings, &only);
	struct progress *at = bpf_map_lookup_elem(&progress, &only);
	if (!set || !at || frame + TEMPLATE_WORDS * 8 > end)
		return XDP_ABORTED;
	if (set->interval_ns && !is_due(at, set->interval_ns))
		return XDP_DROP;
	fill(frame, set, at->flow);
	at->flow = at->flow + 1 < set->flows ? at->flow + 1 : 0;
	return bpf_redirect(set->interface, 0);
}

enum { ETHERNET_TYPE = 12, IPV4_PROTOCOL = 23, DESTINATION_PORT = 36, UDP_HEADER_END = 42 };
enum { ETHERNET_IPV4 = 0x0800, PROTOCOL_UDP = 17, COUNTED_PORT = 7000 };

SECTION("tcx") int count(struct __sk_buff *packet)
{
	u8 *frame = (u8 *)(long)packet->data, *end = (u8 *)(long)packet->data_end;
	if (frame + UDP_HEADER_END > end || *(u16 *)(frame + ETHERNET_TYPE) != SWAP16(ETHERNET_IPV4) ||
	    frame[IPV4_PROTOCOL] != PROTOCOL_UDP || *(u16 *)(frame + DESTINATION_PORT) != SWAP16(COUNTED_PORT))
		return TCX_NEXT;
	u32 only = 0;
	struct counters *counted = bpf_map_lookup_elem(&counters, &only);
	if (counted)
		counted->by_cpu[bpf_get_smp_processor_id() & (CPUS - 1)].frames++;
	return TCX_DROP;
}

SECTION("license") char license_name[] = "Apache-2.0";
