"""Clock and reset of a top with a bus: `aresetn` is active low and synchronous."""

import cocotb
from cocotb.triggers import Timer


async def edge(dut):
    dut.aclk.value = 1
    await Timer(5, "ns")
    dut.aclk.value = 0
    await Timer(5, "ns")


@cocotb.test()
async def resets(dut):
    for name in ("m_axi_arready", "m_axi_awready", "m_axi_wready", "m_axi_rvalid", "m_axi_rid", "m_axi_rdata",
                 "m_axi_rresp", "m_axi_rlast", "m_axi_bvalid", "m_axi_bid", "m_axi_bresp", "job_valid",
                 "job_payload", "done_ready", "aclk", "aresetn"):
        getattr(dut, name).value = 0
    dut.windows.value = 0b10
    await Timer(5, "ns")
    await edge(dut)
    assert int(dut.m_axi_arid.value) == 0, "held in reset"
    dut.aresetn.value = 1
    await Timer(5, "ns")
    assert int(dut.m_axi_arid.value) == 0, "nothing moves without a clock edge"
    await edge(dut)
    assert int(dut.m_axi_arid.value) == 2
    dut.aresetn.value = 0
    await Timer(5, "ns")
    assert int(dut.m_axi_arid.value) == 2, "reset is synchronous"
    await edge(dut)
    assert int(dut.m_axi_arid.value) == 0
    dut.job_payload.value = 0x1234_5678
    dut.job_valid.value = 1
    dut.m_axi_rdata.value = 0x1122_3344_5566_7788
    dut.m_axi_rvalid.value = 1
    await Timer(5, "ns")
    assert (int(dut.m_axi_araddr.value), int(dut.m_axi_arvalid.value)) == (0x1234_5678, 1)
    assert (int(dut.done_payload.value), int(dut.done_valid.value)) == (0x1122_3344_5566_7788, 1)
    assert (int(dut.m_axi_bready.value), int(dut.m_axi_awvalid.value)) == (1, 0)
