"""What the refinement of a photo costs, as measured, so that a long run can say how long before it begins."""

LONG = 600.0  # seconds from which a run says how long it will take
MEGATEXEL = 2**20
RECONSTRUCTION = {"face_mesh": 1.0, "deep3dfacerecon": 1.0}  # seconds for a photo

# Measured on 2 x86-64 cores: seconds = fixed + steps * (step + texels * step_texels) + texels * once, texels in millions.
_SECONDS = {
    "none": {"fixed": 0.8, "step": 0.01, "step_texels": 0.1, "once": 5.3},
    "patches": {"fixed": 0.8, "step": 0.03, "step_texels": 0.15, "once": 5.3},
    "vgg16": {"fixed": 5.0, "step": 2.0, "step_texels": 32.0, "once": 5.3},
}


def memory_each(config, features):
    """Bytes that a process takes at its peak for a photo of 1 or 2 megapixels, on a CPU."""
    return 1.0e9 + 0.35e9 * config.texture_size**2 / MEGATEXEL + (1.2e9 if features == "vgg16" else 0)


def refinement_seconds(config, features):
    """Seconds for a photo by one process on two cores, by the CPU."""
    texels = config.texture_size**2 / MEGATEXEL
    cost, refine = _SECONDS[features], config.refine_schedule(features != "none", bool(config.content))
    steps = refine.transfers * refine.iterations
    seconds = cost["fixed"] + cost["once"] * texels
    seconds += sum(steps * (cost["step"] + cost["step_texels"] * texels * scale**2) for scale in refine.scales)
    plain = _SECONDS["none"]
    return seconds + (config.unwrap.fit_iterations + refine.rendering_iterations) * (plain["step"] + plain["step_texels"] * texels)


class Forecast:
    """Says how long a run will take where that is more than ten minutes: before it, and again after its first photo."""

    def __init__(self, photos, at_once, seconds_each):
        """seconds_each: expected for a photo; None: not known before the first one is finished."""
        self._left, self._at_once, self._each, self._corrected = photos, at_once, seconds_each, False

    def before(self):
        """A line, or nothing."""
        return "" if self._each is None else self._line(self._each, "by measurements on 2 x86-64 cores")

    def after(self, seconds):
        """A line, or nothing, after a photo that took this long."""
        self._left -= 1
        if self._corrected:
            return ""
        self._corrected = True
        return self._line(seconds, "as the first one took")

    def _line(self, seconds_each, why):
        seconds = self._left * seconds_each / min(self._at_once, max(self._left, 1))
        if seconds <= LONG:
            return ""
        return f"expected: about {duration(seconds)} for {self._left} photo{'s' if self._left > 1 else ''}, {why}"


def duration(seconds):
    """'25 min', '3 h', '2 days': no more exactly than it is known."""
    for unit, length, until in (("min", 60, 90 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{max(round(seconds / length), 1)} {unit}"
    return f"{round(seconds / 86400)} days"
