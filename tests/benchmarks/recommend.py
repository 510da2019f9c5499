"""What the orchestrator itself costs: `python -m tests.benchmarks.recommend`.

The services behind it are stand-ins in a process of their own that answer at once: two hundred candidates, a history
of fifty. Printed are, at one call at a time, Recommend's time minus what the same three upstream calls take when they
are made directly, one after the other, and the CPU time that the orchestrator's process spends per Recommend, which
neighbours on a shared machine disturb least; and the calls per second of an orchestrator that has one core to itself,
under an open load of increasing rate (ghz is not needed: the generator keeps a fixed schedule and counts what it
misses).
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.v1 import homepage_pb2, homepage_pb2_grpc

from shared.timestamps import to_timestamp
from tests.stand_ins import NOW, ProfileStandIn, RankerStandIn, candidate, item

CANDIDATES, HISTORY, ITEMS = 200, 50, 24
CALLS = 300
"""Per repeat of the latency measurement."""
RATES = [100, 200, 250, 300, 350, 400]


class InstantRetrieval(retrieval_pb2_grpc.RetrievalServicer):
    """One answer, made beforehand."""

    def __init__(self) -> None:
        numbers = range(1000, 1000 + CANDIDATES)
        self.response = retrieval_pb2.RetrieveResponse(
            candidates=[candidate(n, score=0.5, anchor=f"i{n % HISTORY}", popularity=0.1) for n in numbers],
            history_items=[item(n) for n in range(HISTORY)],
            index_version="1",
        )

    async def Retrieve(self, request, context):
        return self.response


class InstantRanker(RankerStandIn):
    """One answer, made beforehand."""

    def __init__(self) -> None:
        scores = [ranker_pb2.CandidateScore(probabilities=[(n % 90 + 5) / 100]) for n in range(CANDIDATES)]
        self.response = ranker_pb2.RankResponse(scores=scores, actions=["click"], model_version="instant")

    async def Rank(self, request, context):
        return self.response


class InstantProfile(ProfileStandIn):
    """A profile with a history; forgets what is recorded."""

    async def RecordEvents(self, request, context):
        return profile_pb2.RecordEventsResponse(recorded=len(request.events))


async def serve_stand_ins() -> None:
    """Prints the address, then serves until it is stopped."""
    server = grpc.aio.server()
    profile = InstantProfile()
    profile.has_read(*range(HISTORY))
    profile_pb2_grpc.add_ProfileServicer_to_server(profile, server)
    retrieval_pb2_grpc.add_RetrievalServicer_to_server(InstantRetrieval(), server)
    ranker_pb2_grpc.add_RankerServicer_to_server(InstantRanker(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def start(arguments: list[str], environment: dict[str, str], core: int | None) -> subprocess.Popen[str]:
    """A child process, on one core if `core` is given."""
    child = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if core is not None:
        os.sched_setaffinity(child.pid, {core})  # before it has threads; they inherit it
    return child


async def upstream_call_ms(address: str) -> dict[str, float]:
    """Median time of each upstream call made directly, in milliseconds."""
    async with grpc.aio.insecure_channel(address) as channel:
        profile = profile_pb2_grpc.ProfileStub(channel)
        retrieval = retrieval_pb2_grpc.RetrievalStub(channel)
        ranker = ranker_pb2_grpc.RankerStub(channel)
        found = await retrieval.Retrieve(retrieval_pb2.RetrieveRequest())
        texts = [
            ranker_pb2.ItemText(item_id=each.item.item_id, revision=each.item.revision, title=each.item.title)
            for each in found.candidates
        ]
        rank = ranker_pb2.RankRequest(candidates=texts)
        calls = {
            "profile": lambda: profile.GetProfile(profile_pb2.GetProfileRequest(user_id="ann")),
            "retrieval": lambda: retrieval.Retrieve(retrieval_pb2.RetrieveRequest()),
            "ranker": lambda: ranker.Rank(rank),
        }
        return {name: await median_ms(call, CALLS) for name, call in calls.items()}


async def median_ms(call, count: int) -> float:
    """Median time of a call, one at a time, in milliseconds; the first tenth is warm-up."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await call()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[count // 10 :])


def request() -> homepage_pb2.RecommendRequest:
    """A page of two dozen."""
    context = homepage_pb2.RequestContext(now=to_timestamp(NOW))
    return homepage_pb2.RecommendRequest(user_id="ann", page_size=ITEMS, context=context)


async def at_rate(stubs, rate: float, seconds: float) -> dict[str, float]:
    """Open load: calls start on schedule, whether or not earlier ones have ended; latency counts from the schedule."""
    latencies, failed, degraded = [], 0, 0

    async def one(number: int, due: float) -> None:
        nonlocal failed, degraded
        try:
            page = await stubs[number % len(stubs)].Recommend(request(), timeout=2.0)
            degraded += bool(page.degraded)
            latencies.append(time.perf_counter() - due)
        except grpc.aio.AioRpcError:
            failed += 1

    tasks, began = [], time.perf_counter()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*tasks)
    elapsed = time.perf_counter() - began
    ranked = sorted(latencies) or [float("nan")]
    return {
        "rate": rate,
        "done_per_s": len(latencies) / elapsed,
        "p50_ms": ranked[len(ranked) // 2] * 1000,
        "p99_ms": ranked[int(len(ranked) * 0.99)] * 1000,
        "failed": failed,
        "degraded": degraded,
    }


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, all threads, user and system; see proc(5)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


async def measure(orchestrator: str, pid: int, stand_ins: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Both parts; see the module."""
    channel = grpc.aio.insecure_channel(orchestrator)
    stub = homepage_pb2_grpc.HomepageStub(channel)
    await asyncio.wait_for(channel.channel_ready(), 30)
    for _ in range(50):
        await stub.Recommend(request(), timeout=5)
    repeats = []
    for _ in range(arguments.repeats):
        upstream = await upstream_call_ms(stand_ins)
        before = cpu_seconds(pid)
        page = await median_ms(lambda: stub.Recommend(request(), timeout=2), CALLS)
        cpu = (cpu_seconds(pid) - before) * 1000 / CALLS
        overhead = page - sum(upstream.values())
        repeats.append({"recommend_ms": page, **upstream, "overhead_ms": overhead, "orchestrator CPU_ms": cpu})
    latency = {key: statistics.median(repeat[key] for repeat in repeats) for key in repeats[0]}
    channels = [grpc.aio.insecure_channel(orchestrator, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)]
    stubs = [homepage_pb2_grpc.HomepageStub(each) for each in channels]
    load = [await at_rate(stubs, rate, arguments.seconds) for rate in arguments.rates]
    for each in (channel, *channels):
        await each.close()
    return {"latency": latency, "load": load}


def show(result: dict[str, object]) -> None:
    """Prints markdown tables."""
    latency = result["latency"]
    print("| one call at a time, median ms | |\n|---|---|")
    for name, value in latency.items():
        print(f"| {name.replace('_ms', '')} | {value:.2f} |")
    print("\n| calls offered/s | answered/s | p50 ms | p99 ms | failed | degraded |\n|---|---|---|---|---|---|")
    for row in result["load"]:
        print(
            f"| {row['rate']:.0f} | {row['done_per_s']:.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} "
            f"| {row['failed']} | {row['degraded']} |"
        )


def main() -> None:
    """Starts both processes, measures, stops them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="calls per second")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each rate")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of the latency measurement")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--stand-ins", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stand_ins:
        asyncio.run(serve_stand_ins())
        return
    stand_ins = start(["tests.benchmarks.recommend", "--stand-ins"], {}, 1)
    children = [stand_ins]
    try:
        address = stand_ins.stdout.readline().strip()
        prefix = "HOMEPAGE_ORCHESTRATOR_"
        environment = {f"{prefix}{name}_ADDRESS": address for name in ("PROFILE", "RETRIEVAL", "RANKER")}
        environment |= {f"{prefix}LISTEN": "127.0.0.1:0", f"{prefix}ADMIN_LISTEN": "127.0.0.1:0"}
        environment |= {f"{prefix}METRICS_LISTEN": ""}
        orchestrator = start(["services.orchestrator"], environment, 0)
        children.append(orchestrator)
        os.sched_setaffinity(0, {1})
        for line in orchestrator.stderr:
            entry = json.loads(line)
            if entry["event"] == "serving":
                break
        threading.Thread(target=lambda: [None for _ in orchestrator.stderr], daemon=True).start()
        result = asyncio.run(measure(entry["address"], orchestrator.pid, address, arguments))
    finally:
        for child in children:
            child.terminate()
            child.wait(10)
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
