import com.fasterxml.jackson.annotation.JsonIgnoreProperties;

/** A click as the topic holds it. */
@JsonIgnoreProperties(ignoreUnknown = true)
record Click(String event_id, String user_id, String item_id, String event_type, long timestamp) {}
