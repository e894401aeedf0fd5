// Sixteen numbers, given by their bits, each in all lanes: is 0 > x, is 0 <= x, by sfpgt and sfple of a register that holds
// +0.0, and by sfpsetcc? The answers' bits, 1 and 2, 4 and 8, add up in four rows of the output tile a number.
#include "api/compute/common.h"
#include "api/compute/compute_kernel_hw_startup.h"

constexpr uint32_t cb_in = 0, cb_out = 2;

#ifdef TRISC_MATH
constexpr uint32_t X = p_sfpu::LREG0, ZERO = p_sfpu::LREG1, SUM = p_sfpu::LREG3;
constexpr uint32_t UPPER = 8, LOWER = 10, AS_BF16 = 0, AS_FP32 = 3;

inline void all_lanes() { TTI_SFPENCC(3, 0, 0, 10); }

inline void answers(uint32_t bits, uint32_t row) {
    all_lanes();
    TT_SFPLOADI(X, UPPER, bits >> 16);
    TT_SFPLOADI(X, LOWER, bits & 0xFFFF);
    TTI_SFPLOADI(ZERO, AS_BF16, 0);
    TTI_SFPLOADI(SUM, AS_BF16, 0);
    TTI_SFPGT(0, X, ZERO, 1);
    TTI_SFPADDI(0x3F80, SUM, 0);
    all_lanes();
    TTI_SFPSETCC(0, X, 0, 0);
    TTI_SFPADDI(0x4000, SUM, 0);
    all_lanes();
    TTI_SFPLE(0, X, ZERO, 1);
    TTI_SFPADDI(0x4080, SUM, 0);
    all_lanes();
    TTI_SFPSETCC(0, X, 0, 4);
    TTI_SFPADDI(0x4100, SUM, 0);
    all_lanes();
    TT_SFPSTORE(SUM, AS_FP32, ADDR_MOD_7, row);
    TT_SFPSTORE(SUM, AS_FP32, ADDR_MOD_7, row + 2);
}
#endif

void kernel_main() {
    compute_kernel_hw_startup(cb_in, cb_out);
    tile_regs_acquire();
#ifdef TRISC_MATH
    math::set_dst_write_addr<DstTileShape::Tile32x32, UnpackDestination::SrcRegs>(0);
    TTI_STALLWAIT(p_stall::STALL_SFPU, p_stall::MATH);
    for (uint32_t i = 0; i < 16; i++) {
        answers(get_arg_val<uint32_t>(i), 4 * i);
    }
#endif
    tile_regs_commit();
    tile_regs_wait();
    cb_reserve_back(cb_out, 1);
    pack_tile(0, cb_out);
    cb_push_back(cb_out, 1);
    tile_regs_release();
}
