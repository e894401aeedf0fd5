// Counts the bytes that this processor reads from DRAM and writes to it; `UNCOUNTED` is who brings them out.
#if defined(KERNEL_BUILD) && !defined(UNCOUNTED) && (defined(COMPILE_FOR_BRISC) || defined(COMPILE_FOR_NCRISC))
extern uint16_t dram_bank_to_noc_xy[NUM_NOCS][NUM_DRAM_BANKS];

static __attribute__((noinline)) void count_request(uint32_t noc, uint32_t buf) {
    const auto given = [&](uint32_t addr) {
        return *(volatile uint32_t*)((buf << NOC_CMD_BUF_OFFSET_BIT) + (noc << NOC_INSTANCE_OFFSET_BIT) + addr);
    };
    const bool writes = given(NOC_CTRL) & NOC_CMD_WR;
    const uint32_t there = given(writes ? NOC_RET_ADDR_COORDINATE : NOC_TARG_ADDR_COORDINATE);
    for (uint32_t bank = 0; bank < NUM_DRAM_BANKS; bank++) {
        if (there == dram_bank_to_noc_xy[noc][bank]) {
            volatile auto counts = (volatile tt_l1_ptr uint32_t*)GET_MAILBOX_ADDRESS_DEV(watcher.debug_ring_buf);
#if defined(COMPILE_FOR_NCRISC)
            counts += 2;
#endif
            counts[writes] += given(NOC_AT_LEN_BE);
            return;
        }
    }
}

#define COUNT_REQUEST(noc, buf, addr, val)                        \
    if ((addr) == NOC_CMD_CTRL && ((val) & NOC_CTRL_SEND_REQ)) { \
        count_request(noc, buf);                                  \
    }
#else
#define COUNT_REQUEST(noc, buf, addr, val)
#endif
