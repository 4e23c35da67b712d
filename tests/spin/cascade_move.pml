/*
 * The planned move of one shard from engine A to engine B, both ways of ending, as a model for spin.
 *
 * Each engine has a link of its own on which packets of the shard arrive, numbered; a packet leaves by the link it came
 * from. The cascade is one FIFO a direction (a shard has one path), the control session another. What holds in every
 * interleaving: each packet is processed by exactly one engine, which owns the shard at that moment; the packets of a
 * link are processed and leave in their order; when all is quiet every packet has left, and exactly one engine owns.
 *
 * A may give up at any point before the change of epoch; after it there is no way back.
 *
 * tests/spin/check also runs it with one part of the barrier left out (WITHOUT_*): each must be found wrong.
 */
#ifndef PACKETS
#define PACKETS 3
#endif
#ifndef MOVES
#define MOVES 2 /* attempts; an aborted one is followed by another */
#endif

mtype = { PKT, RET, FENCE, END, READY, EPOCH, ACK, ABORT, ABORTED };
mtype = { OWN, FROZEN, COMMITTING, REMOTE, PARKING, DRAINING };

/* cascade frames {type, link, number}: a fence has the move's number */
chan ab = [6] of { mtype, byte, byte };
chan ba = [6] of { mtype, byte, byte };
/* control session {type, move} */
chan control_ab = [3] of { mtype, byte };
chan control_ba = [3] of { mtype, byte };

chan wire[2] = [1] of { byte };                   /* packets that arrive on a link */
chan parked_a = [8] of { byte, byte };            /* {link, number} */
chan parked_b = [8] of { byte, byte };

mtype a = OWN, b = REMOTE;
byte a_move = 0, b_move = 0;
bool a_ready = false, a_fenced = false;
byte processed[2], left_link[2]; /* the last number of each link */
bool epoch_changed = false;

/* the next of its link, never twice, never by an engine that does not own */
inline process_packet(by_b, link, n) {
	assert(by_b == epoch_changed);
	assert(n == processed[link] + 1);
	processed[link] = n
}

inline leave(link, n) {
	assert(n == left_link[link] + 1);
	left_link[link] = n
}

proctype source(byte link) {
	byte n = 1;
	do
	:: n <= PACKETS -> wire[link]!n; n++
	:: else -> break
	od
}

proctype engine_a() {
	byte n, l, m;
end_a:
	do
	/* a packet on its own link */
	:: atomic { a == OWN && wire[0]?[n] -> wire[0]?n; process_packet(false, 0, n); leave(0, n) }
	:: atomic { (a == FROZEN || a == COMMITTING) && wire[0]?[n] && nfull(parked_a) -> wire[0]?n; parked_a!0,n }
	:: atomic { a == REMOTE && wire[0]?[n] && nfull(ab) -> wire[0]?n; ab!PKT,0,n }
	/* from the cascade */
	:: atomic { ba?[PKT,l,n] && a == OWN && nfull(ab) -> ba?PKT,l,n; process_packet(false, l, n); ab!RET,l,n }
	:: atomic { ba?[PKT,l,n] && (a == FROZEN || a == COMMITTING) && nfull(parked_a) -> ba?PKT,l,n; parked_a!l,n }
	:: atomic { ba?[PKT,l,n] && a == REMOTE -> assert(false) }
	:: atomic { ba?[RET,l,n] -> ba?RET,l,n; leave(l, n) }
	:: atomic { ba?[FENCE,l,n] -> ba?FENCE,l,n;
		if
		:: n == a_move && a == FROZEN -> a_fenced = true
		:: else /* of an attempt that was given up */
		fi }
	/* freeze, last delta */
	:: atomic { a == OWN && a_move < MOVES && nfull(control_ab) && empty(parked_a) ->
		a_move++; a = FROZEN; a_ready = false; a_fenced = false; control_ab!END,a_move }
	:: atomic { control_ba?[READY,m] -> control_ba?READY,m;
		if
		:: m == a_move && a == FROZEN -> a_ready = true
		:: else
		fi }
	/* gives up: its packets first, in order, then what B parked and sends back */
	:: atomic { a == FROZEN && nfull(control_ab) -> control_ab!ABORT,a_move;
		a = DRAINING }
	:: atomic { a == DRAINING && nempty(parked_a) && nfull(ab) -> parked_a?l,n; process_packet(false, l, n);
		if
		:: l == 0 -> leave(0, n)
		:: else -> ab!RET,l,n
		fi }
	:: atomic { a == DRAINING && empty(parked_a) && control_ba?[ABORTED,m] -> control_ba?ABORTED,m; a = OWN }
	/* while draining, what comes is processed behind what was parked */
	:: atomic { a == DRAINING && empty(parked_a) && wire[0]?[n] -> wire[0]?n; process_packet(false, 0, n); leave(0, n) }
	:: atomic { a == DRAINING && empty(parked_a) && ba?[PKT,l,n] && nfull(ab) -> ba?PKT,l,n; process_packet(false, l, n); ab!RET,l,n }
	/* nothing of the shard is on its way to A: the change of epoch, one message */
#ifdef WITHOUT_FENCE
	:: atomic { a == FROZEN && a_ready && nfull(control_ab) -> epoch_changed = true; control_ab!EPOCH,a_move; a = COMMITTING }
#else
	:: atomic { a == FROZEN && a_ready && a_fenced && nfull(control_ab) -> epoch_changed = true; control_ab!EPOCH,a_move; a = COMMITTING }
#endif
	/* acknowledged: the parked packets, then the fence behind them */
	:: atomic { a == COMMITTING && control_ba?[ACK,m] -> control_ba?ACK,m; a = PARKING }
#ifdef WITHOUT_ACKNOWLEDGEMENT
	:: atomic { a == COMMITTING -> a = PARKING }
#endif
	:: atomic { a == PARKING && nempty(parked_a) && nfull(ab) -> parked_a?l,n; ab!PKT,l,n }
	:: atomic { a == PARKING && empty(parked_a) && nfull(ab) -> ab!FENCE,0,a_move; a = REMOTE }
#ifdef WITHOUT_ORDER
	:: atomic { a == PARKING && nfull(ab) -> ab!FENCE,0,a_move; a = REMOTE }
#endif
	od
}

proctype engine_b() {
	byte n, l, m;
end_b:
	do
	:: atomic { b == REMOTE && wire[1]?[n] && nfull(ba) -> wire[1]?n; ba!PKT,1,n }
	:: atomic { (b == PARKING || b == DRAINING || b == COMMITTING) && wire[1]?[n] && nfull(parked_b) -> wire[1]?n; parked_b!1,n }
	:: atomic { b == OWN && wire[1]?[n] -> wire[1]?n; process_packet(true, 1, n); leave(1, n) }
	:: atomic { ab?[RET,l,n] -> ab?RET,l,n; leave(l, n) }
	/* what A had parked, and what follows: B owns from the epoch on */
	:: atomic { ab?[PKT,l,n] && (b == DRAINING || b == OWN) && nfull(ba) -> ab?PKT,l,n; process_packet(true, l, n);
		if
		:: l == 1 -> leave(1, n)
		:: else -> ba!RET,l,n
		fi }
	:: atomic { ab?[PKT,l,n] && (b == REMOTE || b == PARKING) -> assert(false) }
	:: atomic { ab?[FENCE,l,n] -> ab?FENCE,l,n; assert(b == DRAINING && n == b_move); b = COMMITTING }
	/* then its own parked packets */
#ifdef WITHOUT_FENCE_BACK
	:: atomic { b == DRAINING && nempty(parked_b) -> parked_b?l,n; process_packet(true, l, n); leave(l, n) }
#endif
	:: atomic { b == COMMITTING && nempty(parked_b) -> parked_b?l,n; process_packet(true, l, n); leave(l, n) }
	:: atomic { b == COMMITTING && empty(parked_b) -> b = OWN }
	/* control */
	:: atomic { control_ab?[END,m] && b == REMOTE && nfull(control_ba) && nfull(ba) ->
		control_ab?END,m; b_move = m; b = PARKING; control_ba!READY,m; ba!FENCE,0,m }
	:: atomic { control_ab?[EPOCH,m] && b == PARKING && nfull(control_ba) -> control_ab?EPOCH,m; control_ba!ACK,m; b = DRAINING }
	:: atomic { control_ab?[ABORT,m] && (b == PARKING || b == REMOTE) && empty(parked_b) && nfull(control_ba) ->
		control_ab?ABORT,m; b = REMOTE; control_ba!ABORTED,m }
	/* given up: what it parked goes to A before anything newer */
	:: atomic { control_ab?[ABORT,m] && b == PARKING && nempty(parked_b) && nfull(ba) -> parked_b?l,n; ba!PKT,l,n }
	od
}

init {
	atomic { run source(0); run source(1); run engine_a(); run engine_b() };
	/* when nothing can move any more: everything has left, one owner */
	timeout;
	assert(processed[0] == PACKETS && processed[1] == PACKETS);
	assert(left_link[0] == PACKETS && left_link[1] == PACKETS);
	assert((a == OWN && b == REMOTE) || (a == REMOTE && b == OWN))
}
