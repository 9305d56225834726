"""The memories of two groups' cells, and who uses their ports."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...kvcache.descriptor import FREE_CELL
from ...stream import read_later
from ..layout import SCORE_BITS
from .layout import BANKS
from .selector import SUM_BITS

__all__ = ["score_entry", "scan_layout", "CellStores"]


def score_entry(config):
    """A word of scores as it is kept."""
    return data.StructLayout({"score": data.ArrayLayout(signed(SCORE_BITS), config.rows), "visible": config.rows})


def scan_layout(config):
    """What the closing group's bank is read for: ``positions`` and ``sums`` say whose ports are taken, ``enable``
    that answers change."""
    cell = range(config.cells)
    return data.StructLayout({"positions": 1, "sums": 1, "enable": 1, "cell": cell, "position_cell": cell})


class CellStores(wiring.Component):
    """Positions, sums and scores of two banks, with one read and one write port each.

    A bank is first loaded, then at work, then closing, and each port has one user in each of these times: so nothing
    here arbitrates, and what is asked is answered in the next cycle. Who asks for a cell in the cycle in which it is
    written must not look at the answer (`read_later`).

    =========  ==========================  ========================
    port       at work                     closing
    =========  ==========================  ========================
    positions  masks read                  scan reads, ``drop`` writes
    sums       ``add`` reads and writes    scan or ``add`` reads, ``add`` or ``drop`` writes
    scores     words are captured          scan reads, ``free`` writes
    =========  ==========================  ========================

    Members
    -------
    load_position, load_sum : In(struct ``valid``, ``bank``, ``cell``, value)
        A position can be asked for two cycles later.
    mask_addr : In(struct ``bank``, ``cell``), mask_position : Out(16), mask_valid : Out(1)
        There is a token in the cell: a bit beside its position, as a comparison behind the memory would be late.
    capture : In(struct ``valid``, ``bank``, ``cell``, ``word``)
    add_addr : In(struct ``bank``, ``cell``), add_sum : Out(32), add : In(struct ``valid``, ``bank``, ``cell``, ``sum``)
    bank : In(1)
        The closing bank, or that which closes next.
    scan : In(scan_layout), scan_position : Out(16), scan_sum : Out(32), scan_word : Out(score_entry)
    drop : In(struct ``valid``, ``cell``)
        The closing bank's cell becomes free.
    free : In(struct ``valid``, ``index``, ``cell``)
        Entry of the list of free cells, in the place of a score, which is read no more.

    Cost: 2 * (49 + 17 * P) bits for each of ``cells`` cells.
    """

    def __init__(self, config):
        self.config = config
        cell = range(config.cells)
        place = data.StructLayout({"bank": 1, "cell": cell})
        self.word = score_entry(config)

        def entry(**value):
            return In(data.StructLayout({"valid": 1, "bank": 1, "cell": cell, **value}))

        super().__init__({
            "load_position": entry(position=16), "load_sum": entry(sum=unsigned(SUM_BITS)),
            "mask_addr": In(place), "mask_position": Out(16), "mask_valid": Out(1),
            "capture": entry(word=self.word),
            "add_addr": In(place), "add_sum": Out(unsigned(SUM_BITS)), "add": entry(sum=unsigned(SUM_BITS)),
            "bank": In(1), "scan": In(scan_layout(config)),
            "scan_position": Out(16), "scan_sum": Out(unsigned(SUM_BITS)), "scan_word": Out(self.word),
            "drop": In(data.StructLayout({"valid": 1, "cell": cell})),
            "free": In(data.StructLayout({"valid": 1, "index": cell, "cell": cell})),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self.config.cells
        scan, answers = self.scan, {"position": [], "sum": [], "word": []}
        # What comes late in a cycle is written a cycle later. A scan begins two cycles after a cell became free.
        loaded, drop = Signal.like(self.load_position), Signal.like(self.drop)
        free = Signal.like(self.free)
        m.d.sync += [loaded.eq(self.load_position), drop.eq(self.drop), free.eq(self.free)]
        for bank in range(BANKS):
            closing = Signal(name=f"closing_{bank}")
            m.d.comb += closing.eq(self.bank == bank)

            def memory(shape, name, addr, enable, bank=bank):
                m.submodules[f"{name}_{bank}"] = store = Memory(shape=shape, depth=depth, init=[])
                write = store.write_port()
                answers[name].append(read_later(m, store, addr, write, enable))
                return write

            def of_bank(entry, bank=bank):
                return entry.valid & (entry.bank == bank)

            drops = closing & drop.valid
            scanned = closing & scan.positions
            write = memory(unsigned(17), "position", Mux(scanned, scan.position_cell, self.mask_addr.cell),
                           ~scanned | scan.enable)
            m.d.comb += [
                write.en.eq(drops | of_bank(loaded)), write.addr.eq(Mux(drops, drop.cell, loaded.cell)),
                write.data.eq(Mux(drops, FREE_CELL, Cat(loaded.position, loaded.position != FREE_CELL))),
            ]
            scanned = closing & scan.sums
            write = memory(unsigned(SUM_BITS), "sum", Mux(scanned, scan.cell, self.add_addr.cell),
                           ~scanned | scan.enable)
            m.d.comb += [
                write.en.eq(drops | of_bank(self.add) | of_bank(self.load_sum)),
                write.addr.eq(self.load_sum.cell), write.data.eq(self.load_sum.sum),
            ]
            with m.If(drops):
                m.d.comb += [write.addr.eq(drop.cell), write.data.eq(0)]
            with m.Elif(of_bank(self.add)):
                m.d.comb += [write.addr.eq(self.add.cell), write.data.eq(self.add.sum)]
            write = memory(self.word, "word", scan.cell, scan.enable)
            frees = closing & free.valid
            m.d.comb += [
                write.en.eq(frees | of_bank(self.capture)),
                write.addr.eq(Mux(frees, free.index, self.capture.cell)),
                write.data.eq(self.capture.word.as_value()),
            ]
            with m.If(frees):
                # Above it anything.
                m.d.comb += write.data.as_value()[:len(free.cell)].eq(free.cell)

        mask_bank, add_bank = Signal(), Signal()
        m.d.sync += [mask_bank.eq(self.mask_addr.bank), add_bank.eq(self.add_addr.bank)]
        m.d.comb += [
            Cat(self.mask_position, self.mask_valid).eq(Mux(mask_bank, *reversed(answers["position"]))),
            self.add_sum.eq(Mux(add_bank, *reversed(answers["sum"]))),
            self.scan_position.eq(Mux(self.bank, *reversed(answers["position"]))),
            self.scan_sum.eq(Mux(self.bank, *reversed(answers["sum"]))),
            self.scan_word.eq(Mux(self.bank, *(word.as_value() for word in reversed(answers["word"])))),
        ]
        return m
