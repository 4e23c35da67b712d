/*
 * How a shard changes hands between workers (dataplane/owner.h), as a model for spin: WORKERS workers receive PACKETS packets
 * each of one shard, while control moves it MOVES times to anybody, with or without a stop in between (`hold`).
 *
 * Checked: who judges a packet owns the shard; the packets that one worker received are judged in their order; none is lost
 * (control would wait for ever: an invalid end state); every move ends. With HOP the packets are fragments: the shard is that
 * of their addresses, and who judges them gives them on to the owner of their flow; there, too, their order is kept.
 *
 *     spin -a [-DHOP] owner_move.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * With NO_FENCE, NO_PARKING or, with HOP, NO_FLUSH the model leaves that step out: spin must find an error (tests/spin/check).
 * A step of a worker between two looks at what others write is atomic here; owner.c says by which loads and stores it is.
 */
#ifndef WORKERS
#define WORKERS 3
#endif
#ifndef PACKETS
#define PACKETS 2
#endif
#ifndef MOVES
#define MOVES 2
#endif
#define ROOM   (WORKERS * PACKETS)
#define NOBODY 254
#define PARKED 255

#define AT(to_, from_) ((to_) * WORKERS + (from_))

mtype = { idle, fencing, frozen, released };

chan ring[WORKERS * WORKERS] = [ROOM] of { byte, byte }; /* [AT()]: received by, number */
byte given[WORKERS * WORKERS], taken[WORKERS * WORKERS];
#ifdef HOP
chan hop[WORKERS] = [ROOM] of { byte, byte }; /* to the owner of the flow */
byte hop_given[WORKERS], hop_taken[WORKERS];
byte left[WORKERS]; /* packets of a receiver that the owner of the flow has judged */
#endif
#if defined(HOP) && !defined(NO_FLUSH)
#define FLUSHED(me_) (hop_taken[me_] == hop_given[me_]) /* it gives no more by then: all fences have been passed */
#else
#define FLUSHED(me_) true
#endif

byte number;   /* moves begun */
byte from, to; /* of the last */
bool hold;
mtype state = idle; /* of the move state_number: both are one word */
byte state_number;
byte seen[WORKERS], fence[WORKERS];

byte holder;          /* who may judge; no code has it, it is what the code must amount to */
byte judged[WORKERS]; /* packets of each receiver */
byte total;
bool over;

inline judge(source_, packet_)
{
    assert(holder == me);
    assert(judged[source_] == packet_);
    judged[source_]++;
#ifdef HOP
    hop[me]!source_, packet_;
    hop_given[me]++
#else
    total++
#endif
}

inline park(source_, packet_)
{
#ifdef NO_PARKING
    judge(source_, packet_)
#else
    parking!source_, packet_
#endif
}

inline see()
{
    if
    :: number != my_number ->
        my_number = number;
        my_from = from;
        my_to = to;
        owner = (to == me -> PARKED : to);
        fence[me] = given[AT(from, me)];
        seen[me] = number
    :: else
    fi
}

inline receive()
{
    see();
    packet = sent;
    sent++;
    if
    :: owner == me -> judge(me, packet)
    :: owner == PARKED -> park(me, packet)
    :: else ->
        ring[AT(owner, me)]!me, packet;
        given[AT(owner, me)]++
    fi
}

inline take(other)
{
    ring[AT(me, other)]?source, packet;
    see();
    if
    :: owner == PARKED -> park(source, packet)
    :: else -> judge(source, packet)
    fi;
    taken[AT(me, other)]++
}

inline look_at_fences()
{
    passed = true;
#ifndef NO_FENCE
    w = 0;
    do
    :: w == WORKERS -> break
    :: else ->
        passed = passed && seen[w] == my_number && (w == me || taken[AT(me, w)] >= fence[w]);
        w++
    od;
    w = 0
#endif
}

inline give_away()
{
    holder = NOBODY;
    state = (hold -> frozen : released)
}

inline take_over()
{
    holder = me;
    owner = me;
    do
    :: parking?source, packet -> judge(source, packet)
    :: empty(parking) -> break
    od;
    state = idle
}

proctype worker(byte me)
{
    chan parking = [ROOM] of { byte, byte };
    byte owner = 0, my_number = 0, my_from = NOBODY, my_to = NOBODY, sent = 0, source, packet, w;
    bool passed = false;
    do
    :: atomic { over -> break }
    :: atomic { sent < PACKETS -> receive() }
    :: atomic { number != my_number -> see() }
    :: atomic { nempty(ring[AT(me, 0)]) -> take(0) }
    :: atomic { nempty(ring[AT(me, 1)]) -> take(1) }
#if WORKERS > 2
    :: atomic { nempty(ring[AT(me, 2)]) -> take(2) }
#endif
    :: atomic { state == fencing && state_number == my_number && my_from == me && !passed -> look_at_fences() }
    :: atomic { passed && FLUSHED(me) -> passed = false; give_away() }
    :: atomic { state == released && state_number == my_number && my_to == me -> take_over() }
    od
}

#ifdef HOP
/* Takes from all who give, in any order of rings. */
proctype owner_of_flow()
{
    byte source, packet;
    do
    :: atomic { over -> break }
    :: atomic { hop[0]?source, packet -> assert(left[source] == packet); left[source]++; total++; hop_taken[0]++ }
    :: atomic { hop[1]?source, packet -> assert(left[source] == packet); left[source]++; total++; hop_taken[1]++ }
#if WORKERS > 2
    :: atomic { hop[2]?source, packet -> assert(left[source] == packet); left[source]++; total++; hop_taken[2]++ }
#endif
    od
}
#endif

init
{
    byte moves = 0, owner = 0, next = 0;
    atomic {
        run worker(0);
        run worker(1);
#if WORKERS > 2
        run worker(2);
#endif
#ifdef HOP
        run owner_of_flow()
#endif
    };
    do
    :: atomic {
        moves < MOVES && state == idle ->
        if
        :: next = 0
        :: next = 1
#if WORKERS > 2
        :: next = 2
#endif
        fi;
        if
        :: hold = true
        :: hold = false
        fi;
        from = owner;
        to = next;
        owner = next;
        next = 0;
        state = fencing;
        state_number = number + 1;
        moves++
    };
    number++ /* after the rest, and seen by each worker when it looks */
    :: atomic { state == frozen -> state = released }
    :: atomic { moves == MOVES && state == idle && total == WORKERS * PACKETS -> over = true; break }
    od
}
