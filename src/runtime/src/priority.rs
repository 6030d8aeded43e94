//! Work that only takes time which nobody else wants.

/// From now on this thread, and what it starts, runs when nobody else wants to, and stops as soon
/// as somebody does (the scheduling class `SCHED_IDLE`). A nice thread would be left its time slice,
/// which is 3 ms. Nothing happens on systems without such a class.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::unix::{
            NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
            thread_native_id,
        };
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let lowest = thread_priority::ThreadPriority::Min;
        if let Err(why) = set_thread_priority_and_policy(thread_native_id(), lowest, idle) {
            let thread = std::thread::current();
            let thread = thread.name().unwrap_or("unnamed");
            tracing::warn!("thread {thread} runs as fast as others: {why}");
        }
    }
}
