// SPDX-License-Identifier: Apache-2.0
//
// Which frames are ours: they go to the socket of the queue they came in by, all others to the kernel. Decides exactly
// as lb-core/src/steer.rs does; lb-io/tests/kernel/steering.rs holds the two against each other. While there is no socket,
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
#define INLINE static __attribute__((always_inline))

// An address of either family: IPv4 as ::ffff:a.b.c.d. Everything in network order.
struct address {
	u32 words[4];
};

struct endpoint {
	struct address address;
	u16 port;
	u8 protocol;
	u8 pad;
};

// What an address is, and the ports that are ours where it is a source, in host order.
struct address_entry {
	u32 roles;
	u16 first_port;
	u16 last_port;
};

SECTION("maps") struct map_definition addresses = {BPF_MAP_TYPE_HASH, sizeof(struct address), sizeof(struct address_entry), 32768};
SECTION("maps") struct map_definition endpoints = {BPF_MAP_TYPE_HASH, sizeof(struct endpoint), sizeof(u32), 65536};
SECTION("maps") struct map_definition xsks = {BPF_MAP_TYPE_XSKMAP, sizeof(u32), sizeof(u32), 64};

enum address_role { VIP = 1, HOST = 2, TARGET_TCP = 4, TARGET_UDP = 8, SOURCE = 16 };
enum endpoint_role { LISTENER = 1, TARGET = 2 };
enum protocol { HOP_BY_HOP = 0, ICMP = 1, TCP = 6, UDP = 17, ROUTING = 43, FRAGMENT = 44, ICMPV6 = 58, DESTINATION_OPTIONS = 60 };

enum {
	ETHERNET_BYTES = 14,
	IPV4_BYTES = 20,
	ICMP_BYTES = 8,
	EXTENSION_HEADERS = 8,          // walked at most
	EXTENSION_BYTES = 8,            // unit of an extension header's length
	WALK_MASK = 0x7ff8,             // covers the longest walk: 8 headers of 256 units
	ETHERTYPE_IPV4 = 0x0008,        // 0x0800 in network order
	ETHERTYPE_IPV6 = 0xdd86,        // 0x86dd
	V4_FRAGMENT_MASK = 0xff3f,      // more fragments, and the offset: 0x3fff
	V4_OFFSET_MASK = 0xff1f,        // the offset alone: 0x1fff
	V6_FRAGMENT_MASK = 0xf9ff,      // the offset, and more fragments: 0xfff9
	V6_OFFSET_MASK = 0xf8ff,        // the offset alone: 0xfff8
	V4_MAPPED = 0xffff0000,         // 0x0000ffff
	V4_FIRST_MULTICAST = 224,
	V6_MULTICAST = 0xff,
	V6_LINK_LOCAL_MASK = 0xc0ff,    // fe80::/10
	V6_LINK_LOCAL = 0x80fe,
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

struct ipv6 {
	u8 version_and_class;
	u8 class_and_label[3];
	u16 payload_length;
	u8 next_header;
	u8 hop_limit;
	struct address source;
	struct address destination;
};

// Every extension header that is walked begins so; only FRAGMENT has a field of its own in the third and fourth byte.
struct extension {
	u8 next_header;
	u8 units_after_first;
	u16 fragment;
	u32 rest;
};

struct ports {
	u16 source;
	u16 destination;
};

// What decides about a packet of either family.
struct packet {
	struct address source;
	struct address destination;
	void *payload;          // what follows the headers, perhaps past the end; 0 after an impossible header
	u8 protocol;            // of the payload, or of the extension header that could not be read
	u8 is_icmp;
	u8 is_fragment;
	u8 is_later_fragment;
	u8 is_link_scope;       // to many, to a link-local address, or a neighbour's ICMP
};

INLINE struct address mapped(u32 v4)
{
	struct address address = {{0, 0, V4_MAPPED, v4}};
	return address;
}

INLINE int is_link_local(const struct address *v6)
{
	return (*(u16 *)v6 & V6_LINK_LOCAL_MASK) == V6_LINK_LOCAL;
}

INLINE int is_extension(u32 protocol)
{
	return protocol < 64 &&
	       (1ULL << HOP_BY_HOP | 1ULL << ROUTING | 1ULL << FRAGMENT | 1ULL << DESTINATION_OPTIONS) >> protocol & 1;
}

// Reads an IPv4 header; 0 when it is cut short.
INLINE int read_ipv4(struct packet *packet, struct ipv4 *ip, void *end)
{
	u32 header_bytes;

	if ((void *)(ip + 1) > end)
		return 0;
	header_bytes = (ip->version_and_length & 0x0f) * 4;
	packet->source = mapped(ip->source);
	packet->destination = mapped(ip->destination);
	packet->payload = header_bytes < IPV4_BYTES ? 0 : (void *)ip + header_bytes;
	packet->protocol = ip->protocol;
	packet->is_icmp = ip->protocol == ICMP;
	packet->is_fragment = (ip->fragment & V4_FRAGMENT_MASK) != 0;
	packet->is_later_fragment = (ip->fragment & V4_OFFSET_MASK) != 0;
	packet->is_link_scope = *(u8 *)&ip->destination >= V4_FIRST_MULTICAST;
	return 1;
}

// All ones where a protocol is FRAGMENT, else 0. Without a branch, so that the verifier need not try both ways anew for
// each header of a walk.
INLINE u32 fragment_mask(u32 protocol)
{
	u32 difference = protocol ^ FRAGMENT;

	asm("" : "+r"(difference)); // or the compiler makes it a branch
	return -((difference - 1) >> 31);
}

// Reads an IPv6 header and walks the extension headers behind it; 0 when the fixed header is cut short.
INLINE int read_ipv6(struct packet *packet, struct ipv6 *ip, void *end)
{
	void *headers = ip + 1;
	u32 offset = 0;
	u32 fragment = 0;
	u32 protocol;
	int i;

	if (headers > end)
		return 0;
	protocol = ip->next_header;
	for (i = 0; i < EXTENSION_HEADERS; i++) {
		struct extension *extension = headers + offset;
		u32 is_fragment = fragment_mask(protocol);
		u32 units;

		if (!is_extension(protocol) || (void *)(extension + 1) > end || (fragment & V6_OFFSET_MASK))
			break;
		units = 1 + (extension->units_after_first & ~is_fragment);
		fragment |= extension->fragment & V6_FRAGMENT_MASK & is_fragment;
		protocol = extension->next_header;
		// The mask changes nothing but what the verifier knows: a shorter walk is then a case of a longer one.
		offset = (offset + units * EXTENSION_BYTES) & WALK_MASK;
	}
	packet->source = ip->source;
	packet->destination = ip->destination;
	packet->payload = headers + offset;
	packet->protocol = protocol;
	packet->is_icmp = protocol == ICMPV6;
	packet->is_fragment = fragment != 0;
	packet->is_later_fragment = (fragment & V6_OFFSET_MASK) != 0;
	packet->is_link_scope = *(u8 *)&ip->destination == V6_MULTICAST || is_link_local(&ip->destination) ||
				(packet->is_icmp && is_link_local(&ip->source));
	return 1;
}

INLINE int read_packet(struct packet *packet, u16 ethertype, void *at, void *end)
{
	return ethertype == ETHERTYPE_IPV4 ? read_ipv4(packet, at, end) : read_ipv6(packet, at, end);
}

// The ports of a packet; 0 when it has none.
INLINE struct ports *find_ports(const struct packet *packet, void *end)
{
	struct ports *ports = packet->payload;

	if (!ports || packet->is_later_fragment || (void *)(ports + 1) > end)
		return 0;
	return ports;
}

INLINE struct address_entry find_address(const struct address *address)
{
	struct address_entry none = {0, 0, 0};
	struct address_entry *entry = bpf_map_lookup_elem(&addresses, address);

	return entry ? *entry : none;
}

INLINE int has_role(const struct address *address, u16 port, u8 protocol, u32 role)
{
	struct endpoint key = {.address = *address, .port = port, .protocol = protocol};
	u32 *roles;

	if (protocol != TCP && protocol != UDP)
		return 0;
	roles = bpf_map_lookup_elem(&endpoints, &key);
	return roles && (*roles & role);
}

INLINE int is_source_port(struct address_entry entry, u16 port)
{
	u16 number = __builtin_bswap16(port);

	return (entry.roles & SOURCE) && entry.first_port <= number && number <= entry.last_port;
}

// Unreachable, packet too big, time exceeded, parameter problem: what is about somebody's packet.
INLINE int is_icmp_error(u16 ethertype, u8 type)
{
	if (ethertype == ETHERTYPE_IPV4)
		return type == 3 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

// An error is ours when it quotes a packet that went out from a listener or a source, or in to a target.
INLINE int is_our_icmp(const struct packet *packet, u16 ethertype, void *end, u32 roles)
{
	u8 *icmp = packet->payload;
	u8 *quoted = icmp + ICMP_BYTES;
	struct packet quote;
	struct ports *ports;

	if (!icmp || packet->is_fragment || (void *)(quoted + 1) > end || !is_icmp_error(ethertype, *icmp))
		return 0;
	if (*quoted >> 4 != (ethertype == ETHERTYPE_IPV4 ? 4 : 6) || !read_packet(&quote, ethertype, quoted, end))
		return 0;
	ports = find_ports(&quote, end);
	if (!ports)
		return 0;
	if (has_role(&quote.destination, ports->destination, quote.protocol, TARGET)) {
		if (!(roles & (VIP | HOST | SOURCE)))
			return 1;
		if (is_source_port(find_address(&quote.source), ports->source))
			return 1;
	}
	return (roles & VIP) && has_role(&quote.source, ports->source, quote.protocol, LISTENER);
}

INLINE int is_from_target(const struct packet *packet, const struct ports *ports)
{
	u32 roles = find_address(&packet->source).roles;

	if (!(packet->protocol == TCP && (roles & TARGET_TCP)) && !(packet->protocol == UDP && (roles & TARGET_UDP)))
		return 0;
	return packet->is_fragment || (ports && has_role(&packet->source, ports->source, packet->protocol, TARGET));
}

INLINE int is_ours(const struct packet *packet, u16 ethertype, void *end)
{
	struct address_entry destination = find_address(&packet->destination);
	struct ports *ports = find_ports(packet, end);

	if (packet->is_link_scope)
		return 0;
	if (packet->is_icmp)
		return is_our_icmp(packet, ethertype, end, destination.roles);
	if (destination.roles & VIP) {
		if (!(destination.roles & HOST))
			return 1;
		if (packet->is_fragment && (packet->protocol == TCP || packet->protocol == UDP))
			return 1;
		if (ports && has_role(&packet->destination, ports->destination, packet->protocol, LISTENER))
			return 1;
	}
	if (destination.roles & SOURCE) {
		if (!packet->is_fragment && !(ports && is_source_port(destination, ports->destination)))
			return 0;
	} else if (destination.roles & HOST) {
		return 0;
	}
	return is_from_target(packet, ports);
}

SECTION("xdp") int lbd_steer(struct xdp_md *context)
{
	void *data = (void *)(u64)context->data;
	void *end = (void *)(u64)context->data_end;
	void *at = data + ETHERNET_BYTES;
	struct packet packet;
	u16 ethertype;

	if (at > end)
		return XDP_PASS;
	ethertype = *(u16 *)(at - sizeof(ethertype));
	if (ethertype != ETHERTYPE_IPV4 && ethertype != ETHERTYPE_IPV6)
		return XDP_PASS;
	// A header cut short is of use to nobody; the worker counts it.
	if (read_packet(&packet, ethertype, at, end) && !is_ours(&packet, ethertype, end))
		return XDP_PASS;
	return bpf_redirect_map(&xsks, context->rx_queue_index, XDP_DROP);
}

SECTION("license") char license_name[] = "Apache-2.0";
