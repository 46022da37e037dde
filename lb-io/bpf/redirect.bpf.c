// SPDX-License-Identifier: Apache-2.0
//
// Which frames are ours: they go to the socket of the queue they came in by, all others to the kernel. Decides exactly
// as lb-core/src/steer.rs does; lb-io/tests/steering.rs holds the two against each other. While there is no socket,
// ours are dropped, never passed: the kernel would answer them by a reset.
//
// One file without includes: `build.sh` beside it makes redirect.bpf.o, which is committed.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// What the kernel gives a program and takes from it (include/uapi/linux/bpf.h).
struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

enum xdp_action { XDP_ABORTED, XDP_DROP, XDP_PASS };

enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_XSKMAP = 17 };

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

// A map, as lb-io/src/program.rs reads it from the section `maps`.
struct map_definition {
	u32 type;
	u32 key_bytes;
	u32 value_bytes;
	u32 entries;
};

#define SECTION(name) __attribute__((section(name), used))

// Addresses as 16 bytes, IPv4 as ::ffff:a.b.c.d; everything in network order.
struct address_key {
	u8 zero[10];
	u8 ones[2];
	u32 v4;
} __attribute__((packed));

struct endpoint_key {
	struct address_key address;
	u16 port;
	u8 protocol;
	u8 pad;
} __attribute__((packed));

SECTION("maps") struct map_definition addresses = {BPF_MAP_TYPE_HASH, sizeof(struct address_key), sizeof(u32), 32768};
SECTION("maps") struct map_definition endpoints = {BPF_MAP_TYPE_HASH, sizeof(struct endpoint_key), sizeof(u32), 65536};
SECTION("maps") struct map_definition xsks = {BPF_MAP_TYPE_XSKMAP, sizeof(u32), sizeof(u32), 64};

enum address_role { VIP = 1, HOST = 2, TARGET_TCP = 4, TARGET_UDP = 8 };
enum endpoint_role { LISTENER = 1, TARGET = 2 };
enum protocol { ICMP = 1, TCP = 6, UDP = 17 };

enum {
	ETHERNET_BYTES = 14,
	IPV4_BYTES = 20,
	FIRST_MULTICAST = 224,
	ETHERTYPE_IPV4 = 0x0008,   // 0x0800 in network order
	FRAGMENT_MASK = 0xff3f,    // more fragments, and the offset: 0x3fff in network order
	OFFSET_MASK = 0xff1f,      // the offset alone: 0x1fff in network order
	ICMP_BYTES = 8,
};

struct ipv4 {
	u8 version_and_length;
	u8 tos;
	u16 total_length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u32 source;
	u32 destination;
};

struct ports {
	u16 source;
	u16 destination;
};

static __attribute__((always_inline)) struct address_key mapped(u32 v4)
{
	struct address_key key = {.ones = {0xff, 0xff}, .v4 = v4};
	return key;
}

static __attribute__((always_inline)) u32 address_roles(u32 v4)
{
	struct address_key key = mapped(v4);
	u32 *roles = bpf_map_lookup_elem(&addresses, &key);
	return roles ? *roles : 0;
}

static __attribute__((always_inline)) int has_role(u32 v4, u16 port, u8 protocol, u32 role)
{
	struct endpoint_key key = {.address = mapped(v4), .port = port, .protocol = protocol};
	u32 *roles;

	if (protocol != TCP && protocol != UDP)
		return 0;
	roles = bpf_map_lookup_elem(&endpoints, &key);
	return roles && (*roles & role);
}

// The ports after an IPv4 header of the length that it says; 0 when there are none.
static __attribute__((always_inline)) struct ports *find_ports(struct ipv4 *ip, void *end)
{
	u32 header_bytes = (ip->version_and_length & 0x0f) * 4;
	struct ports *ports = (void *)ip + header_bytes;

	if (header_bytes < IPV4_BYTES || (void *)(ports + 1) > end)
		return 0;
	return ports;
}

// Unreachable, time exceeded, parameter problem: what is about somebody's packet.
static __attribute__((always_inline)) int is_icmp_error(u8 type)
{
	return type == 3 || type == 11 || type == 12;
}

// An error is ours when it quotes a packet that went out from a listener, or in to a target.
static __attribute__((always_inline)) int is_our_icmp(struct ipv4 *ip, void *end, u32 roles)
{
	u32 header_bytes = (ip->version_and_length & 0x0f) * 4;
	u8 *icmp = (void *)ip + header_bytes;
	struct ipv4 *quote = (void *)icmp + ICMP_BYTES;
	struct ports *ports;

	if (header_bytes < IPV4_BYTES || (ip->fragment & FRAGMENT_MASK) || (void *)(quote + 1) > end)
		return 0;
	if (!is_icmp_error(*icmp) || quote->version_and_length >> 4 != 4 || (quote->fragment & OFFSET_MASK))
		return 0;
	ports = find_ports(quote, end);
	if (!ports)
		return 0;
	if (roles & VIP)
		return has_role(quote->source, ports->source, quote->protocol, LISTENER);
	if (roles & HOST)
		return 0;
	return has_role(quote->destination, ports->destination, quote->protocol, TARGET);
}

static __attribute__((always_inline)) int is_ours(struct ipv4 *ip, void *end)
{
	u8 protocol = ip->protocol;
	int is_fragment = (ip->fragment & FRAGMENT_MASK) != 0;
	struct ports *ports = find_ports(ip, end);
	u32 roles = address_roles(ip->destination);

	if (protocol == ICMP)
		return is_our_icmp(ip, end, roles);
	if (roles & VIP) {
		if (!(roles & HOST) || (is_fragment && (protocol == TCP || protocol == UDP)))
			return 1;
		if (ports && has_role(ip->destination, ports->destination, protocol, LISTENER))
			return 1;
	}
	if ((roles & HOST) || *(u8 *)&ip->destination >= FIRST_MULTICAST)
		return 0;
	roles = address_roles(ip->source);
	if (!(protocol == TCP && (roles & TARGET_TCP)) && !(protocol == UDP && (roles & TARGET_UDP)))
		return 0;
	return is_fragment || (ports && has_role(ip->source, ports->source, protocol, TARGET));
}

SECTION("xdp") int lbd_steer(struct xdp_md *context)
{
	void *data = (void *)(u64)context->data;
	void *end = (void *)(u64)context->data_end;
	struct ipv4 *ip = data + ETHERNET_BYTES;

	if ((void *)ip > end || *(u16 *)(data + 12) != ETHERTYPE_IPV4)
		return XDP_PASS;
	// A header cut short is of use to nobody; the worker counts it.
	if ((void *)(ip + 1) <= end && !is_ours(ip, end))
		return XDP_PASS;
	return bpf_redirect_map(&xsks, context->rx_queue_index, XDP_DROP);
}

SECTION("license") char license_name[] = "Apache-2.0";
