"""Where wolfpine 2.2 departs from the chip's public documentation in something that this project's ops meet.

The documentation is github tenstorrent/tt-isa-documentation, BlackholeA0/TensixTile/TensixCoprocessor; an
instruction's file has its functional model. Runs in the lane's own environment, like server.py.
"""

from framework.pe.tensix.backends.vector import VectorUnit


def sfpload_of_half_words() -> None:
    """SFPLOAD of 16 opaque bits, zero-extended: `ttnn.where` in bf16 asks for it, and the stock one is a NameError.

    The formats that keep the register's other half are right, so the register is cleared first.
    """
    stock = VectorUnit.handle_sfpload
    keeping_the_other_half = {
        VectorUnit.MOD0_FMT_LO16: VectorUnit.MOD0_FMT_LO16_ONLY,
        VectorUnit.MOD0_FMT_UINT16: VectorUnit.MOD0_FMT_LO16_ONLY,
        VectorUnit.MOD0_FMT_HI16: VectorUnit.MOD0_FMT_HI16_ONLY,
    }

    def handle_sfpload(unit, instruction_info, issue_thread, instr_args):
        format = keeping_the_other_half.get(instr_args["instr_mod0"])
        register = instr_args["lreg_ind"]
        if format is None or register >= 8:
            return stock(unit, instruction_info, issue_thread, instr_args)
        for lane in range(32):
            blocked = unit.laneConfigValue(lane, VectorUnit.BLOCK_SFPU_RD_FROM_DEST)
            if unit.isLaneEnabled(lane) and not blocked:
                unit.lregs[register][lane] = 0
        return stock(unit, instruction_info, issue_thread, {**instr_args, "instr_mod0": format})

    VectorUnit.handle_sfpload = handle_sfpload


def sfpadd_of_any_registers() -> None:
    """SFPADD and SFPMUL are SFPMAD. The stock ones put a constant for one of the registers that they are told to use.

    `ttnn.sum` and `ttnn.mean` in float32 add with SFPADD(a, 1.0, c): the stock one gives 1.0 + c.
    """
    VectorUnit.handle_add = VectorUnit.handle_mul = VectorUnit.handle_mad


REPAIRS = {"SFPLOAD": sfpload_of_half_words, "SFPADD": sfpadd_of_any_registers}


def repair(leaving: str) -> None:
    """Put all of it right, but for what is to be provoked."""
    for name, put_right in REPAIRS.items():
        if name != leaving:
            put_right()
