"""What happens to a phone on a drive, and what its sensors measure.

The acceleration is without gravity, in m/s², as phones report it. Three kinds of
incident stand out from the ordinary driving:

========  ===========  ===========  ==================================================
incident  length       peak         what it is
========  ===========  ===========  ==================================================
crash     1.5 to 2 s   5 to 6.3 g   an impact, then spinning and sliding at 2.8 to 4 g
bump      50 to 80 ms  9 to 14 g    a pothole, a kerb
shake     250-350 ms   8.5 to 10 g  the phone falls, or somebody shakes it
========  ===========  ===========  ==================================================

Every bump and shake is more violent than every crash, but soon over. So no single
reading tells them apart; the sum over two seconds does, with a wide margin.

Everything follows from the seed: a drive can be planned and played again, reading
by reading, which is how an interrupted demo goes on.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

G = 9.80665
"""One g in m/s²."""

EPOCH_NS = 1_746_432_000_000_000_000
"""The drives begin on 5 May 2025 at 08:00 UTC, whenever they are played."""

TICK_S = 0.01
"""Accelerometer and gyroscope measure 100 times a second."""

TICKS_PER_LOCATION = 100
"""GPS measures once a second."""

BEYOND_LAST_CRASH_S = 3.0
"""A phone sends this much longer, so that every window with a crash in it closes."""

CUT_OFF_S = (30.0, 330.0)
"""When one of the phones has no network: five minutes."""

_LAST_CRASH_S = (366.0, 376.0)
_INCIDENT_EVERY_S = (8.0, 13.0)

Kind = Literal["crash", "bump", "shake"]
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Incident:
    """Something that happens in the car, ``[start_s, start_s + length_s)``."""

    kind: Kind
    start_s: float
    length_s: float
    peak_g: float
    level_g: float
    direction: Vector

    @property
    def end_s(self) -> float:
        """When it is over, in seconds since the drive began."""
        return self.start_s + self.length_s

    def g_at(self, age_s: float) -> float:
        """Return its g-force along ``direction``, ``age_s`` seconds after its start."""
        if not 0 <= age_s < self.length_s:
            return 0.0
        arch = math.sin(math.pi * age_s / self.length_s)
        if self.kind == "bump":
            return self.peak_g * arch
        if self.kind == "shake":
            return self.peak_g * arch * math.sin(2 * math.pi * 7 * age_s)
        rise = min(1.0, age_s / 0.03)
        fall = min(1.0, (self.length_s - age_s) / 0.05)
        impact = (self.peak_g - self.level_g) * math.exp(-max(0.0, age_s - 0.03) / 0.12)
        return (self.level_g + impact) * rise * fall


@dataclass(frozen=True)
class Drive:
    """One phone's drive."""

    phone: str
    seed: str
    has_cut_off: bool
    incidents: tuple[Incident, ...]

    @property
    def crashes(self) -> list[Incident]:
        """The incidents that an alert is due for."""
        return [incident for incident in self.incidents if incident.kind == "crash"]

    @property
    def tick_count(self) -> int:
        """How many times the accelerometer measures."""
        end_s = self.crashes[-1].end_s + BEYOND_LAST_CRASH_S
        return math.ceil(end_s / TICK_S) + 2

    @property
    def reading_count(self) -> int:
        """How many readings all sensors make together."""
        return 2 * self.tick_count + math.ceil(self.tick_count / TICKS_PER_LOCATION)


@dataclass(frozen=True)
class Reading:
    """What one sensor measured at one time."""

    sensor: Literal["accelerometer", "gyroscope", "location"]
    time_ns: int
    values: dict[str, float]


def plan_drives(seed: int) -> list[Drive]:
    """Plan the drives of three phones.

    Examples
    --------
    >>> drives = plan_drives(seed=1)
    >>> len(drives), sum(drive.has_cut_off for drive in drives)
    (3, 1)
    """
    source = random.Random(f"headwater demo {seed}")
    models = source.sample(["fairphone", "galaxy", "iphone", "pixel", "xperia"], 3)
    cut_off = source.randrange(3)
    drives = []
    for index, model in enumerate(models):
        phone = f"{model}-{source.randrange(16**4):04x}"
        incidents = tuple(_plan_incidents(random.Random(f"{seed} {phone} incidents")))
        drives.append(Drive(phone, f"{seed} {phone}", index == cut_off, incidents))
    return drives


def _plan_incidents(source: random.Random) -> Iterator[Incident]:
    last_s = source.uniform(*_LAST_CRASH_S)
    starts = [source.uniform(6.0, 12.0)]
    while starts[-1] + 2 * _INCIDENT_EVERY_S[1] < last_s:
        starts.append(starts[-1] + source.uniform(*_INCIDENT_EVERY_S))
    # Every seventh incident is a crash; the others come by chance.
    first_crash = source.randrange(2, 7)
    for index, start_s in enumerate(starts):
        is_crash = index % 7 == first_crash
        kind: Kind = "crash" if is_crash else source.choice(("bump", "shake"))
        yield _incident(kind, start_s, source)
    yield _incident("crash", last_s, source)


def _incident(kind: Kind, start_s: float, source: random.Random) -> Incident:
    lengths = {"crash": (1.5, 2.0), "bump": (0.05, 0.08), "shake": (0.25, 0.35)}
    peaks = {"crash": (5.0, 6.3), "bump": (9.0, 14.0), "shake": (8.5, 10.0)}
    level_g = source.uniform(2.8, 4.0) if kind == "crash" else 0.0
    azimuth, height = source.uniform(0, 2 * math.pi), source.uniform(-0.8, 0.8)
    flat = math.sqrt(1 - height * height)
    return Incident(
        kind,
        round(start_s, 3),
        round(source.uniform(*lengths[kind]), 3),
        source.uniform(*peaks[kind]),
        level_g,
        (flat * math.cos(azimuth), flat * math.sin(azimuth), height),
    )


def readings(drive: Drive) -> Iterator[list[Reading]]:
    """Play a drive: the readings of each tick, in order of time."""
    source = random.Random(f"{drive.seed} noise")
    phase_ns = source.randrange(8_000_000)
    latitude, longitude = source.uniform(47.0, 53.0), source.uniform(7.0, 13.0)
    heading, speed = source.uniform(0, 2 * math.pi), source.uniform(10.0, 30.0)
    incidents = list(drive.incidents)
    for tick in range(drive.tick_count):
        age_ns = tick * 10_000_000 + phase_ns
        seconds = age_ns / 1e9
        while len(incidents) > 1 and incidents[0].end_s <= seconds:
            incidents.pop(0)
        # No clock is exact, but a phone's readings stay in order.
        time_ns = EPOCH_NS + age_ns + source.randrange(1_000_000)
        incident = incidents[0]
        found = [
            Reading("accelerometer", time_ns, _accelerometer(incident, seconds, source)),
            Reading("gyroscope", time_ns + 200_000, _gyroscope(incident, seconds, source)),
        ]
        if tick % TICKS_PER_LOCATION == 0:
            latitude += speed * math.cos(heading) / 111_320
            longitude += speed * math.sin(heading) / (111_320 * math.cos(math.radians(latitude)))
            heading += source.gauss(0, 0.05)
            where = {"latitude": latitude, "longitude": longitude, "speed": speed}
            rounded = {name: round(value, 6) for name, value in where.items()}
            found.append(Reading("location", time_ns + 400_000, rounded))
        yield found


def _accelerometer(incident: Incident, seconds: float, source: random.Random) -> dict[str, float]:
    """Road and engine, the driver's braking and turning, and the incident."""
    gauss = source.gauss
    x = gauss(0, 0.5) + 1.2 * math.sin(seconds / 3)
    y = gauss(0, 0.5) + 1.0 * math.sin(seconds / 5)
    z = gauss(0, 0.7)
    age_s = seconds - incident.start_s
    if 0 <= age_s < incident.length_s:
        force = incident.g_at(age_s) * G
        dx, dy, dz = incident.direction
        if incident.kind == "crash":
            # The car spins, and the phone with it.
            cos, sin = math.cos(4 * age_s), math.sin(4 * age_s)
            dx, dy = dx * cos - dy * sin, dx * sin + dy * cos
        x, y, z = x + force * dx, y + force * dy, z + force * dz
    return {"x": round(x, 6), "y": round(y, 6), "z": round(z, 6)}


def _gyroscope(incident: Incident, seconds: float, source: random.Random) -> dict[str, float]:
    gauss = source.gauss
    is_spinning = incident.kind == "crash" and incident.start_s <= seconds < incident.end_s
    turn = 4.0 if is_spinning else 0.1 * math.sin(seconds / 5)
    return {
        "x": round(gauss(0, 0.02), 6),
        "y": round(gauss(0, 0.02), 6),
        "z": round(turn + gauss(0, 0.02), 6),
    }
