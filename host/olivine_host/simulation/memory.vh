// A memory behind AXI4, for the harnesses: they include this in their module, connect `OLIVINE_MEMORY_PORTS, drive
// `clk`, call `serve` every cycle and `wake` at the end of the reset.
//
// It is the one that benchmarks are measured against: one beat a cycle each way, `read_latency` cycles from an address
// to its first beat, `write_latency` cycles from a burst's last beat to its response, any number of bursts in flight,
// ready always high. Addresses past its end answer DECERR. It also refuses what AXI4 forbids: bursts that are not INCR
// of full beats, or cross 4 KiB, and a WLAST in the wrong place.
//
// Macros (from the build): OLIVINE_BUS_BITS, OLIVINE_ADDR_BITS, OLIVINE_ID_BITS, OLIVINE_MEMORY_WORDS.

`define OLIVINE_MEMORY_PORTS \
        .m_axi_arid(arid), .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize), \
        .m_axi_arburst(arburst), .m_axi_arlock(arlock), .m_axi_arcache(arcache), .m_axi_arprot(arprot), \
        .m_axi_arvalid(arvalid), .m_axi_arready(arready), \
        .m_axi_rid(rid), .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast), \
        .m_axi_rvalid(rvalid), .m_axi_rready(rready), \
        .m_axi_awid(awid), .m_axi_awaddr(awaddr), .m_axi_awlen(awlen), .m_axi_awsize(awsize), \
        .m_axi_awburst(awburst), .m_axi_awlock(awlock), .m_axi_awcache(awcache), .m_axi_awprot(awprot), \
        .m_axi_awvalid(awvalid), .m_axi_awready(awready), \
        .m_axi_wdata(wdata), .m_axi_wstrb(wstrb), .m_axi_wlast(wlast), \
        .m_axi_wvalid(wvalid), .m_axi_wready(wready), \
        .m_axi_bid(bid), .m_axi_bresp(bresp), .m_axi_bvalid(bvalid), .m_axi_bready(bready)

    localparam BYTES = `OLIVINE_BUS_BITS / 8;
    localparam OFFSET = $clog2(BYTES);
    localparam WORDS = `OLIVINE_MEMORY_WORDS;
    localparam QUEUE = 1024;

    reg [`OLIVINE_BUS_BITS-1:0] memory [0:WORDS-1];

    integer cycle = 0;
    integer read_latency, write_latency, stall;

    reg aresetn;
    wire [`OLIVINE_ID_BITS-1:0] arid, awid;
    wire [`OLIVINE_ADDR_BITS-1:0] araddr, awaddr;
    wire [7:0] arlen, awlen;
    wire [2:0] arsize, awsize, arprot, awprot;
    wire [1:0] arburst, awburst;
    wire [3:0] arcache, awcache;
    wire arlock, awlock, arvalid, awvalid, wvalid, wlast, rready, bready;
    wire [`OLIVINE_BUS_BITS-1:0] wdata;
    wire [BYTES-1:0] wstrb;
    reg arready, awready, wready;
    reg [`OLIVINE_ID_BITS-1:0] rid, bid;
    reg [`OLIVINE_BUS_BITS-1:0] rdata;
    reg [1:0] rresp, bresp;
    reg rlast, rvalid, bvalid;

    // The memory's queues: bursts to read, bursts and beats to write, responses to give. The times are
    // the cycles in which the address or the last beat was taken.

    reg [`OLIVINE_ADDR_BITS-1:0] read_addr [0:QUEUE-1];
    reg [7:0] read_len [0:QUEUE-1];
    reg [`OLIVINE_ID_BITS-1:0] read_id [0:QUEUE-1];
    reg read_fails [0:QUEUE-1];
    integer read_time [0:QUEUE-1];
    integer read_head = 0, read_tail = 0, read_beat = 0;

    reg [`OLIVINE_ADDR_BITS-1:0] write_addr [0:QUEUE-1];
    reg [7:0] write_len [0:QUEUE-1];
    reg [`OLIVINE_ID_BITS-1:0] write_id [0:QUEUE-1];
    reg write_fails [0:QUEUE-1];
    integer write_head = 0, write_tail = 0, write_beat = 0;
    reg write_outside = 0;

    reg [`OLIVINE_BUS_BITS-1:0] data_word [0:QUEUE-1];
    reg [BYTES-1:0] data_strb [0:QUEUE-1];
    reg data_last [0:QUEUE-1];
    integer data_head = 0, data_tail = 0;

    reg [`OLIVINE_ID_BITS-1:0] response_id [0:QUEUE-1];
    reg [1:0] response_resp [0:QUEUE-1];
    integer response_time [0:QUEUE-1];
    integer response_head = 0, response_tail = 0;

    integer lane;
    // Bursts to go until one fails, and whether one still will.
    integer fault = 0;
    reg failing = 0;
    reg [63:0] word;
    reg [`OLIVINE_BUS_BITS-1:0] merged;

    // Whether a channel rests in this cycle, with a chance of `stall` in 100.
    function stalls(input unused);
        stalls = stall != 0 && $urandom % 100 < stall;
    endfunction

    task protocol(input [64*8-1:0] what);
        begin
            $display("protocol %0s", what);
            $fflush;
            $finish;
        end
    endtask

    task check_burst(input [`OLIVINE_ADDR_BITS-1:0] addr, input [7:0] len, input [2:0] size, input [1:0] burst);
        begin
            if (burst !== 2'b01) protocol("a burst is not INCR");
            if (size !== OFFSET) protocol("a beat is narrower or wider than the bus");
            if ((addr[11:0] >> OFFSET) + len >= 4096 / BYTES) protocol("a burst crosses 4 KiB");
        end
    endtask

    task accept;
        begin
            if (arvalid & arready) begin
                check_burst(araddr, arlen, arsize, arburst);
                read_addr[read_tail] = araddr >> OFFSET;
                read_len[read_tail] = arlen;
                read_id[read_tail] = arid;
                read_time[read_tail] = cycle;
                fault = fault > 0 ? fault - 1 : fault;
                read_fails[read_tail] = fault == 0 && failing;
                failing = failing && fault != 0;
                read_tail = (read_tail + 1) % QUEUE;
                if (read_tail == read_head) protocol("more reads outstanding than the memory model holds");
            end
            if (awvalid & awready) begin
                check_burst(awaddr, awlen, awsize, awburst);
                write_addr[write_tail] = awaddr >> OFFSET;
                write_len[write_tail] = awlen;
                write_id[write_tail] = awid;
                fault = fault < 0 ? fault + 1 : fault;
                write_fails[write_tail] = fault == 0 && failing;
                failing = failing && fault != 0;
                write_tail = (write_tail + 1) % QUEUE;
                if (write_tail == write_head) protocol("more writes outstanding than the memory model holds");
            end
            if (wvalid & wready) begin
                data_word[data_tail] = wdata;
                data_strb[data_tail] = wstrb;
                data_last[data_tail] = wlast;
                data_tail = (data_tail + 1) % QUEUE;
                if (data_tail == data_head) protocol("more beats ahead of their address than the memory model holds");
            end
        end
    endtask

    task store;
        while (write_head != write_tail && data_head != data_tail) begin
            word = write_addr[write_head] + write_beat;
            if (word >= WORDS) write_outside = 1;
            else begin
                merged = memory[word];
                for (lane = 0; lane < BYTES; lane = lane + 1)
                    if (data_strb[data_head][lane]) merged[8*lane +: 8] = data_word[data_head][8*lane +: 8];
                memory[word] = merged;
            end
            if (data_last[data_head] !== (write_beat == write_len[write_head])) protocol("WLAST is in the wrong beat");
            if (data_last[data_head]) begin
                response_id[response_tail] = write_id[write_head];
                response_resp[response_tail] = write_outside ? 2'b11 : write_fails[write_head] ? 2'b10 : 2'b00;
                response_time[response_tail] = cycle;
                response_tail = (response_tail + 1) % QUEUE;
                if (response_tail == response_head) protocol("more responses waiting than the memory model holds");
                write_head = (write_head + 1) % QUEUE;
                write_beat = 0;
                write_outside = 0;
            end else write_beat = write_beat + 1;
            data_head = (data_head + 1) % QUEUE;
        end
    endtask

    // What is given at the end of this cycle is seen in the next one: latency is counted from the cycle
    // of the one transfer to that of the other.

    task answer;
        begin
            if (!rvalid | rready) begin
                rvalid <= 0;
                if (read_head != read_tail && cycle + 1 >= read_time[read_head] + read_latency && !stalls(0)) begin
                    word = read_addr[read_head] + read_beat;
                    rvalid <= 1;
                    rid <= read_id[read_head];
                    rlast <= read_beat == read_len[read_head];
                    if (word >= WORDS) begin
                        rdata <= 0;
                        rresp <= 2'b11;
                    end else begin
                        rdata <= memory[word];
                        rresp <= read_fails[read_head] ? 2'b10 : 2'b00;
                    end
                    if (read_beat == read_len[read_head]) begin
                        read_head = (read_head + 1) % QUEUE;
                        read_beat = 0;
                    end else read_beat = read_beat + 1;
                end
            end
            if (!bvalid | bready) begin
                bvalid <= 0;
                if (response_head != response_tail && cycle + 1 >= response_time[response_head] + write_latency
                        && !stalls(0)) begin
                    bvalid <= 1;
                    bid <= response_id[response_head];
                    bresp <= response_resp[response_head];
                    response_head = (response_head + 1) % QUEUE;
                end
            end
        end
    endtask

    initial begin
        if (!$value$plusargs("read_latency=%d", read_latency)) read_latency = 30;
        if (!$value$plusargs("write_latency=%d", write_latency)) write_latency = 30;
        if (!$value$plusargs("stall=%d", stall)) stall = 0;
        aresetn = 0;
        arready = 0; awready = 0; wready = 0; rvalid = 0; bvalid = 0;
        rid = 0; rdata = 0; rresp = 0; rlast = 0; bid = 0; bresp = 0;
    end

    // Every cycle: what the memory takes and gives.
    task serve;
        begin
            if (stall != 0 && aresetn) begin
                arready <= !stalls(0);
                awready <= !stalls(0);
                wready <= !stalls(0);
            end
            accept;
            store;
            answer;
        end
    endtask

    task wake;
        begin
            aresetn <= 1;
            arready <= 1;
            awready <= 1;
            wready <= 1;
        end
    endtask
