/* Vectors taken from the real iroh binding (@number0/iroh 1.1.0), and RFC 8032 test 1. */
#ifndef KM_TEST_BASE_VECTORS_H
#define KM_TEST_BASE_VECTORS_H

#include <stdbool.h>

/* clang-format off */

#define VECTOR_MESSAGE "iroh-c test message"

typedef struct key_vector {
  const char *secret, *id, *id_short, *base32, *z32, *tls_name, *sig_message, *sig_empty;
} key_vector;

static const key_vector key_vectors[] = {
  {"0000000000000000000000000000000000000000000000000000000000000000",
   "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
   "3b6a27bcce",
   "hnvcppgow2sc2yvdvdicu3ynonsteflxdxrehjr2ybekdc2z3iuq",
   "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo",
   "7dl2ff6emqi2qol3l382krodedij45bn3nh479hqo14a32qpr8kg.iroh.invalid",
   "3ae5282621f538ad30a512eaa38bbd3f18beb82d0e58680966fbcd4fcfb2438553870b268d5a619d3aed1dcfa23a4c819e634e53726bd2d22f5b065bd7241601",
   "8f895b3cafe2c9506039d0e2a66382568004674fe8d237785092e40d6aaf483e4fc60168705f31f101596138ce21aa357c0d32a064f423dc3ee4aa3abf53f803"},
  {"0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
   "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
   "79b5562e8f",
   "pg2vmlup4zkpsqdywejorkmlu6ib7bj242k35v7a4oiqxlieszsa",
   "xg4icmwxh3kx1odasrjqtkcmw6eb9bj4h4k57i9yhqeozmer131y",
   "f6qlcbkfspafig3om49ehacbku81v19qsqartlv0se8gnb84ipi0.iroh.invalid",
   "92486ecfb26af6d795ea6575eb741da59f67aa320b2fbe0ecdce9aa1b88691b0ccf920291408e72d476e3632edc522094ee46e2f5546530b1218e4ff40869503",
   "d9452bd4cc80bcecf4a18895094646e91a5a9bbf1b2707e05396b2cf67c9c2b7d9b847a0d562425ccbb71038c7649fdcbfd76ee0e8247c8ec9326999b6256a0b"},
  {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
   "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
   "d75a980182",
   "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkena",
   "47pjoycnsrfmxikm95jh13y88e8qnhzu5kungjpxyepgt7a8krpy",
   "qtd9g0c2m45bflabvr9sip07787e2snjraj269df08d6hto7a4d0.iroh.invalid",
   "ec8efc17a6b90568e9490ec5830150ebe954d6fb0010a859cebe9fb2306ba315b53738bfb0c114a9c088e92b04128eef9f9bb55704f786eed73b59d9ccac1a06",
   "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
  {"2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a",
   "197f6b23e16c8532c6abc838facd5ea789be0c76b2920334039bfa8b3d368d61",
   "197f6b23e1",
   "df7wwi7bnsctfrvlza4pvtk6u6e34ddwwkjagnadtp5iwpjwrvqq",
   "df9sse9bp1nuftim3yhxiuk6w6r5hddsskjygpydux7esxjstioo",
   "35vmm8v1di2j5hlbp0sfljauku4rs33mma906d03jft8mf9mhlgg.iroh.invalid",
   "6beba3c35badf5af35bad921495afb3937bc12020e3413960e68aaf33afc8ef2e9f844edf00d6db2b1c246361cba8969c5159ff221e7b37c299ba8b584936104",
   "1b897264852153725dfe8d8f3f5272d81afba341e0c652ce66fdc3145acf6d25f19210363719e5e929dd7d3449ce06455c2b1256238024bb44d45facd9e13109"},
  {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
   "76a1592044a6e4f511265bca73a604d90b0529d1df602be30a19a9257660d1f5",
   "76a1592044",
   "o2qvsiceu3spkejglpfhhjqe3efqkkor35qcxyykdgusk5ta2h2q",
   "q4oi1enrw51xkrjgmxf88jor5rfokkqt57onzaakdgw1k7uy484o",
   "eqgli824krifa496bf5779g4r45gaaehrtg2nooa36kiatj0q7qg.iroh.invalid",
   "0966861f2c0fa2834cd9f8f6e2bc3e6bb04ba70d8f68c32cf1a22d87846300f867c5f8d8965b441576b61bbddd384dbd8719b8f3e4579d16fca605409d9c9b05",
   "ee00ac6e44a6a43bc3a701c137b467473e32a4bed47d3293fe6186fe9868c7d254024f65ffa552487bdbd34aaccd1e82c1a20a191d183dbb64c3523cccd89c0f"},
};

typedef struct ticket_vector {
  const char *name, *id;
  const char *relay_in, *relay_out;   /* or NULL */
  const char *udp_in[9], *udp_out[9]; /* NULL ends them */
  const char *bytes, *ticket;
} ticket_vector;

static const ticket_vector ticket_vectors[] = {
  {"id_only",
   "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
   NULL,
   NULL,
   {NULL},
   {NULL},
   "003b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da2900",
   "endpointaa5wuj54z23killcuounaktpbvzwkmqvo4o6eq5ghlaerimllhncsaa"},
  {"relay_only",
   "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
   "https://use1-1.relay.n0.iroh.link./",
   "https://use1-1.relay.n0.iroh.link./",
   {NULL},
   {NULL},
   "0079b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad04966401002368747470733a2f2f757365312d312e72656c61792e6e302e69726f682e6c696e6b2e2f",
   "endpointab43kvror7tfj6kapcyrf2fjrotzah4fhltjlpwx4drzcc5naslgiaiaenuhi5dqom5c6l3vonstcljrfzzgk3dbpexg4mbonfzg62bonruw42zof4"},
  {"relay_no_slash",
   "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
   "https://relay.example.com",
   "https://relay.example.com/",
   {NULL},
   {NULL},
   "0079b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad04966401001a68747470733a2f2f72656c61792e6578616d706c652e636f6d2f",
   "endpointab43kvror7tfj6kapcyrf2fjrotzah4fhltjlpwx4drzcc5naslgiaiadjuhi5dqom5c6l3smvwgc6jomv4gc3lqnrss4y3pnuxq"},
  {"relay_http_port",
   "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
   "http://127.0.0.1:3340",
   "http://127.0.0.1:3340/",
   {NULL},
   {NULL},
   "0079b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664010016687474703a2f2f3132372e302e302e313a333334302f",
   "endpointab43kvror7tfj6kapcyrf2fjrotzah4fhltjlpwx4drzcc5naslgiaiaczuhi5dqhixs6mjsg4xdalrqfyytumztgqyc6"},
  {"ipv4_only",
   "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
   NULL,
   NULL,
   {"192.0.2.1:1234", NULL},
   {"192.0.2.1:1234", NULL},
   "00d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a010100c0000201d209",
   "endpointadlvvgabqkyqvn6vjp7nhslea45a5yls6pnkmizfv4bbu2hxa5iruaibadaaaaqb2ieq"},
  {"ipv6_only",
   "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
   NULL,
   NULL,
   {"[2001:db8::1]:65535", NULL},
   {"[2001:db8::1]:65535", NULL},
   "00d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a01010120010db8000000000000000000000001ffff03",
   "endpointadlvvgabqkyqvn6vjp7nhslea45a5yls6pnkmizfv4bbu2hxa5iruaibaeqacdnyaaaaaaaaaaaaaaaaaaa777yd"},
  {"relay_v4_v6",
   "197f6b23e16c8532c6abc838facd5ea789be0c76b2920334039bfa8b3d368d61",
   "https://euc1-1.relay.n0.iroh.link./",
   "https://euc1-1.relay.n0.iroh.link./",
   {"[2001:db8::1]:4433", "192.0.2.1:1234", NULL},
   {"192.0.2.1:1234", "[2001:db8::1]:4433", NULL},
   "00197f6b23e16c8532c6abc838facd5ea789be0c76b2920334039bfa8b3d368d6103002368747470733a2f2f657563312d312e72656c61792e6e302e69726f682e6c696e6b2e2f0100c0000201d209010120010db8000000000000000000000001d122",
   "endpointaamx62zd4fwikmwgvpedr6wnl2tytpqmo2zjeazuaon7vcz5g2gwcayaenuhi5dqom5c6l3fovrtcljrfzzgk3dbpexg4mbonfzg62bonruw42zof4aqbqaaaia5ecibaeqacdnyaaaaaaaaaaaaaaaaaaa5ciq"},
  {"port_varints",
   "76a1592044a6e4f511265bca73a604d90b0529d1df602be30a19a9257660d1f5",
   NULL,
   NULL,
   {"10.0.0.1:0", "10.0.0.1:1", "10.0.0.1:127", "10.0.0.1:128", "10.0.0.1:16383", "10.0.0.1:16384", "10.0.0.1:65535", NULL},
   {"10.0.0.1:0", "10.0.0.1:1", "10.0.0.1:127", "10.0.0.1:128", "10.0.0.1:16383", "10.0.0.1:16384", "10.0.0.1:65535", NULL},
   "0076a1592044a6e4f511265bca73a604d90b0529d1df602be30a19a9257660d1f50701000a0000010001000a0000010101000a0000017f01000a000001800101000a000001ff7f01000a00000180800101000a000001ffff03",
   "endpointab3kcwjaistoj5irezn4u45gatmqwbjj2hpwak7dbim2sjlwmdi7kbybaafaaaabaaaqacqaaaaqcaiabiaaaal7aeaauaaaagaacaiabiaaaap7p4aqacqaaaaybaabaeaauaaaah776ay"},
  {"ordering",
   "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
   "https://relay.example.com",
   "https://relay.example.com/",
   {"[fe80::1]:9", "203.0.113.7:9", "[::1]:9", "10.0.0.2:9", "10.0.0.1:10", "10.0.0.1:9", "10.0.0.1:9", "[::ffff:10.0.0.1]:9", NULL},
   {"10.0.0.1:9", "10.0.0.1:10", "10.0.0.2:9", "203.0.113.7:9", "[::1]:9", "[::ffff:10.0.0.1]:9", "[fe80::1]:9", NULL},
   "0079b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad04966408001a68747470733a2f2f72656c61792e6578616d706c652e636f6d2f01000a0000010901000a0000010a01000a000002090100cb0071070901010000000000000000000000000000000109010100000000000000000000ffff0a000001090101fe80000000000000000000000000000109",
   "endpointab43kvror7tfj6kapcyrf2fjrotzah4fhltjlpwx4drzcc5naslgicaadjuhi5dqom5c6l3smvwgc6jomv4gc3lqnrss4y3pnuxqcaakaaaaccibaafaaaabbiaqacqaaabasaiazmahcbyjaeaqaaaaaaaaaaaaaaaaaaaaaaaaccibaeaaaaaaaaaaaaaaad776cqaaaaqsaib72aaaaaaaaaaaaaaaaaaaaaaaeeq"},
  {"upstream_iroh_tickets_test",
   "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6",
   "http://derp.me./",
   "http://derp.me./",
   {"127.0.0.1:1024", NULL},
   {"127.0.0.1:1024", NULL},
   "00ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6020010687474703a2f2f646572702e6d652e2f01007f0000018008",
   "endpointacxfr74igmsbvsbnn73wcecg5vt3kbzncqwfrdiampuufwnhkublmaqacbuhi5dqhixs6zdfojyc43lffyxqcad7aaaadaai"},
};

/* What the binding takes and refuses as an id. */
static const struct {
  const char *text;
  bool ok;
} id_parse_vectors[] = {
  {"79B5562E8FE654F94078B112E8A98BA7901F853AE695BED7E0E3910BAD049664", false},
  {"PG2VMLUP4ZKPSQDYWEJORKMLU6IB7BJ242K35V7A4OIQXLIESZSA", true},
  {"pg2vmlup4zkpsqdywejorkmlu6ib7bj242k35v7a4oiqxlieszsb", false},
  {"pg2vmlup4zkpsqdywejorkmlu6ib7bj242k35v7a4oiqxlieszsa====", false},
  {"xg4icmwxh3kx1odasrjqtkcmw6eb9bj4h4k57i9yhqeozmer131y", false},
  {" 79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664", false},
  {"0202020202020202020202020202020202020202020202020202020202020202", false},
  {"0000000000000000000000000000000000000000000000000000000000000000", true},
  {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", true},
};

/* clang-format on */

#endif /* KM_TEST_BASE_VECTORS_H */
