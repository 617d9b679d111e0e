import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** What is kept of a user: the model's memory, its log-normaliser and the last events. */
record Past(byte[] hidden, float logZ, List<Seen> window) {
  static final int WINDOW = 50;
  static final long SESSION_GAP_MS = 1_800_000;

  record Seen(String item, long timestamp) {}

  boolean isEmpty() {
    return window.isEmpty();
  }

  long gapMs(Click click) {
    return click.timestamp() - window.get(window.size() - 1).timestamp();
  }

  Past after(Click click, byte[] newHidden, float newLogZ) {
    int from = Math.max(0, window.size() + 1 - WINDOW);
    List<Seen> kept = new ArrayList<>(window.subList(from, window.size()));
    kept.add(new Seen(click.item_id(), click.timestamp()));
    return new Past(newHidden, newLogZ, kept);
  }

  byte[] toBytes() {
    int size = 4 + hidden.length + 4 + 2;
    List<byte[]> items = new ArrayList<>(window.size());
    for (Seen seen : window) {
      byte[] item = seen.item().getBytes(StandardCharsets.UTF_8);
      items.add(item);
      size += 8 + 2 + item.length;
    }
    ByteBuffer out = ByteBuffer.allocate(size);
    out.putInt(hidden.length).put(hidden).putFloat(logZ).putShort((short) window.size());
    for (int place = 0; place < items.size(); place++) {
      byte[] item = items.get(place);
      out.putLong(window.get(place).timestamp()).putShort((short) item.length).put(item);
    }
    return out.array();
  }

  static Past fromBytes(byte[] bytes) {
    ByteBuffer in = ByteBuffer.wrap(bytes);
    byte[] hidden = new byte[in.getInt()];
    in.get(hidden);
    float logZ = in.getFloat();
    int count = in.getShort();
    List<Seen> window = new ArrayList<>(count);
    for (int place = 0; place < count; place++) {
      long timestamp = in.getLong();
      byte[] item = new byte[in.getShort()];
      in.get(item);
      window.add(new Seen(new String(item, StandardCharsets.UTF_8), timestamp));
    }
    return new Past(hidden, logZ, window);
  }
}
