"""The simulated Blackhole, as TT-NN's process starts it, with a count of cycles for each launch of a program.

Runs in the lane's own environment: wolfpine's stock server with two methods of its device watched. A launch begins
when the host writes "go" into a worker's mailbox and ends when the host first reads "done" there (tt-metal,
tt_metal/hw/inc/hostdev/dev_msgs.h), so a count is a multiple of the cycles that the simulator runs between polls.
"""

import os
import sys
import threading
import time

from framework.bridge.device import Device
from framework.sim.blackhole.__main__ import main
from repairs import repair

GO, DONE = 0x80, 0x00


def count_cycles(path: str) -> None:
    """Have every launch append its cycles to the file at `path`, a line each."""
    running: dict[tuple, int] = {}
    write, read = Device.write, Device.read
    log = open(path, "a", buffering=1)  # noqa: SIM115: it lives as long as the process

    def cycle(device) -> int:
        return device.tt_device.clocks[0].clock_tick_num

    def watched_write(device, core, address, data):
        if len(data) == 4 and data[3] == GO:
            running[core, address] = cycle(device)
        write(device, core, address, data)

    def watched_read(device, core, address, size):
        data = read(device, core, address, size)
        if size == 4 and (core, address) in running and data[3] == DONE:
            log.write(f"{cycle(device) - running.pop((core, address))}\n")
        return data

    Device.write, Device.read = watched_write, watched_read


def end_with(parent: int) -> None:
    """End this process when `parent` has ended, however that happened: TT-NN's process leaves it running."""
    while os.getppid() == parent:
        time.sleep(0.5)
    time.sleep(2)  # it may be saying why it ended its parent
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    count_cycles(os.environ["LAUNCHES"])
    repair(leaving=os.environ["UNREPAIRED"])
    sys.exit(main())
